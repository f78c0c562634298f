"""What a bulk job writes: parts, errors tables and the manifest; how it is read again and checked.

Of altclip it may import datasets, npy and output, and of bulk itself columns, blocks and sources.
"""
