"""The inference process, and the torch-free parts of it that frontends and batch jobs share.

Importing this package, or any module of it, never imports torch: that happens inside `Family.load()`.
"""
