"""Streams of any length, for both clients.

It may import what altclip.calls may, and altclip.calls itself.
"""
