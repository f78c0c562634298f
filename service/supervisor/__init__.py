"""The process that starts, watches and ends all others, and owns the operations port.

Imports service.config and of the worker runtime, spec, errors and models; never service.frontend.
"""
