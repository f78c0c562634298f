"""The gRPC transport: protos to and from the core's messages.

Imports frontend.api, calls, core and compute.pool, service.config, of the worker runtime, spec and models,
and altclip.v1; the only folder that imports grpc.
"""
