"""One call of any transport, from arrival to end: gate, key, deadline, request id, metrics, log, span.

Imports frontend.api, service.config and worker.runtime.
"""
