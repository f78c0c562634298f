"""What a bulk job writes: parts, errors tables and the manifest; and how an output is checked.

Of altclip it may import datasets and output, and of bulk itself columns, blocks and sources.arrow.
"""
