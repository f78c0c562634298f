"""What the operator says: settings, options, keys, certificates and the files they stand in.

Imports worker.runtime, worker.spec and altclip.v1 only.
"""
