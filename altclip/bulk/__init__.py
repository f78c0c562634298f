"""Many items through a service, kept on disk as they come.

Of altclip it may import client, errors, results, datasets, npy, output and printing.
"""
