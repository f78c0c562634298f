"""Which calls may start work, and when: cost, forecast, fairness, shedding.

Imports frontend.api, frontend.compute, worker.runtime and one constant of worker.engine.batcher.
"""
