"""Many items through a service, kept on disk as they come.

Imports of altclip the client, errors, results, datasets, npy and printing.
"""
