"""Where a model's files come from, and how they are converted.

Imports of the worker errors, spec, families, inputs and checkpoint; not worker.runtime, so that it works
without a service.
"""
