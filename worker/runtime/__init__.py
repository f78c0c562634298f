"""What every process of the service shares: control channel, shared memory, notices, metrics, logs, cores.

Imports worker.spec only; no torch, and numpy in the slab alone.
"""
