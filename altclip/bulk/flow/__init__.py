"""A run under way: the threads that read, stream and write, and the cells that go between them.

Of altclip it may import client, errors, inputs, results, datasets and streams.ledger, and of bulk itself
columns, blocks, plan, sources and output.
"""
