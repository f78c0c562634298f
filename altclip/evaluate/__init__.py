"""Measures a model of a running service on a caller's data: retrieval and zero-shot classification.

    command ─▶ folder, shards, table: what the data is       ─▶ Dataset
            ─▶ embedding over EmbedStream, kept in store
            ─▶ retrieval, classification: figures by metrics ─▶ results.Report ─▶ report, chart

Of altclip it may import client, errors, results, printing, output, datasets and bulk.
"""
