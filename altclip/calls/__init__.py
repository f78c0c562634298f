"""Unary calls: request, retry, answer, for both clients.

Of altclip it may import errors, results, inputs, channel, tracing and v1.
"""
