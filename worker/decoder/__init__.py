"""The sandboxed child process that decodes images.

Imports of the worker errors, inputs and runtime; no numpy.
"""
