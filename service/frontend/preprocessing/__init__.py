"""From bytes and addresses to tokens and pixels: fetching, decoding in sandboxed processes, tokenising.

Imports frontend.api, calls and compute, service.config and of the worker runtime, arrays, errors, families
and inputs.
"""
