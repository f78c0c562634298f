"""Data sets on disk: pictures, texts, tables, shards, class names.

Imports nothing of ours but altclip.errors.
"""
