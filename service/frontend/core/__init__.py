"""What the service does: embeddings, similarity, zero-shot classification, streams.

Imports everything in frontend but the transports; no proto, no gRPC, no HTTP.
"""
