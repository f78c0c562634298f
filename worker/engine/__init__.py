"""The inference loop: intake, queue, batcher, engine.

Imports of the worker arrays, errors, spec, families and runtime.
"""
