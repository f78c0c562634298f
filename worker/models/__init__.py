"""Where a model's files come from, how they are converted, and how they are run without a service.

Imports of the worker errors, spec, arrays, families, inputs, checkpoint and decoder, and what says how large
batches are: engine.batcher, engine.scales, engine.tuning, runtime.notices and runtime.cores.
"""
