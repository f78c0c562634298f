"""From an item to its row: cache, single flight and the frontend's end of the link.

Imports frontend.api, frontend.calls and of the worker runtime, spec and arrays.
"""
