"""Traces: the names of spans and attributes, and the client's own spans.

Of altclip it may import errors and v1. OpenTelemetry is loaded where tracing is turned on, and not before.
"""
