"""One call of any transport, from its arrival to its end: gate, key, deadline, request id, metrics, log.

Imports frontend.api, service.config and worker.runtime.
"""
