"""The configuration that the operator gives: settings, API keys and certificates.

Imports worker.runtime, worker.spec and altclip.v1 only.
"""
