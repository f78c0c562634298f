"""Other servers for the same model, each a small file that follows that server's own documentation.

model.py is what all of them run: transformers' AltCLIP, padded to the longest of a batch. NAME_server.py is
started as `python NAME_server.py MODEL_DIRECTORY PORT` in an environment of its own, made from NAME.txt.
"""
