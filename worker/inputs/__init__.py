"""Text to token ids and image files to pixels.

Imports worker.arrays and worker.errors.
"""
