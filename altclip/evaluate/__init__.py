"""Measures a model of a running service on a caller's data: retrieval and zero-shot classification.

    command ─▶ folder, shards, table: what the data is       ─▶ Dataset
            ─▶ embedding over EmbedStream, kept in store
            ─▶ retrieval, classification: figures by metrics ─▶ results.Report ─▶ report, chart

`altclip.cli` calls what is named here. Of altclip it may import client, errors, results, printing, datasets
and bulk.
"""

from __future__ import annotations

from altclip.evaluate.arguments import add_arguments
from altclip.evaluate.command import run

__all__ = ["add_arguments", "run"]
