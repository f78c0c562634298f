"""Streams of any length, for both clients.

Imports what altclip.calls may, and altclip.calls.
"""
