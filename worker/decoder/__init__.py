"""The sandboxed child process that decodes images, and how it is started.

Imports of the worker errors, inputs and runtime; no numpy, but for `blocking`, which is on the other side.
"""
