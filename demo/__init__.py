"""`make demo`: the whole service on this machine, shown with real pictures and words in nine languages.

Starts `altclip-server` as a user would; talks to it through the `altclip` client, and over HTTP. Imports
nothing of the service.
"""
