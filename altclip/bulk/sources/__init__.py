"""What a bulk job reads: tables, folders of images and webdatasets, as Arrow batches in one fixed order.

Of altclip it may import datasets.
"""
