"""Unary calls: request, retry, answer, for both clients.

Imports of altclip errors, results, inputs, channel and v1.
"""
