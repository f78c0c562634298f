"""What the operator says: settings, options, keys, certificates and the files they stand in.

Imports worker.runtime and worker.spec only.
"""
