"""Many items through a service, kept on disk as they come: `altclip bulk`, and the store of evaluations.

    from altclip import Client, bulk

    with Client("localhost:50051") as client:
        print(bulk.run("captions.parquet", "vectors", client=client, text="caption"))

Of altclip it may import client, errors, inputs, results, datasets, npy, output, printing and streams.ledger.
"""

from __future__ import annotations

from altclip.bulk.flow.pool import TooManyErrors
from altclip.bulk.job import run
from altclip.bulk.on_ray.cluster import OnRay
from altclip.bulk.on_ray.parts import Access
from altclip.bulk.plan import Summary

__all__ = ["Access", "OnRay", "Summary", "TooManyErrors", "run"]
