"""The APIs that HTTP speaks, each a file: its routes, its error shape, and a translation, nothing more.

Imports the HTTP folder's reading and writing; no API imports another. `table.py` lists them.
"""
