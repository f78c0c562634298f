"""What a caller hands in as an image and is no file on disk, as the bytes of an image file. See `inputs.py`.

Of altclip it may import nothing but errors.
"""
