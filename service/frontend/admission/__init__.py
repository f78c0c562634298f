"""Which calls may start work, and when: cost, forecast, fairness, shedding.

Imports frontend.api, frontend.compute and worker.runtime.
"""
