"""How a port is opened and its connections are kept in bounds, alike for HTTP and operations.

Imports service.config and the worker runtime; used by the supervisor and by frontends.
"""
