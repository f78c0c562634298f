"""Data sets on disk: pictures, texts, tables, shards, class names.

It may import nothing else of altclip.
"""
