"""The names of spans and of their attributes, for the client and the service: they stand nowhere else.

Those that begin with gen_ai, rpc, http, server, service and error are semantic conventions of OpenTelemetry
(schema 1.44). The ones for generative AI are still moving: a change of theirs is a change of this file. What
begins with altclip is ours. Constants only.
"""

from __future__ import annotations

from typing import Final

# Spans. A call on the server has its method or route as its name, on the client its operation and model.
ADMISSION: Final = "altclip.admission"
"""A part of a stream waits to be let in."""
CHUNK: Final = "altclip.chunk"
"""Some items of a stream that are computed together."""
TOKENIZE: Final = "altclip.tokenize"
DECODE: Final = "altclip.decode"
"""Pictures: fetched, hashed, decoded and resized, with the wait for a decoder."""
QUEUE: Final = "altclip.queue"
"""Items wait in a worker's queue."""
INFERENCE: Final = "altclip.inference"
"""The batch that holds the items runs on the device."""
BATCH: Final = "altclip.batch"
"""One batch: below the first of the sampled calls that have items in it, and linked to all of them."""

# gen_ai
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
EMBEDDINGS: Final = "embeddings"
"""The value of OPERATION for every method that makes embeddings."""
PROVIDER_NAME: Final = "altclip"

# rpc, http, server, service, error
RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
GRPC: Final = "grpc"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"
ERROR_TYPE: Final = "error.type"

# ours
REQUEST_ID: Final = "altclip.request_id"
CALLER: Final = "altclip.caller"
"""The name of the API key, never the key."""
PRIORITY: Final = "altclip.priority"
MODALITY: Final = "altclip.modality"
ITEMS: Final = "altclip.items"
CACHED: Final = "altclip.items.cached"
"""Items that were answered from the cache."""
BATCH_SIZE: Final = "altclip.batch.size"
"""Items in the batch, those of other calls and of other frontends included."""
BATCH_FILL: Final = "altclip.batch.fill"
"""The part of a full batch that was used, from 0 to 1."""
DEVICE: Final = "altclip.device"
FRONTEND: Final = "altclip.frontend"
DROPPED_SPANS: Final = "altclip.dropped_spans"
"""Spans of a long stream that were left out."""

# W3C Trace Context
TRACEPARENT: Final = "traceparent"

OPERATIONS: Final = {
    "EncodePrompt": "encode_prompt",
    "Similarity": "similarity",
    "/v1/similarity": "similarity",
    "/similarity": "similarity",
    "ClassifyImage": "classify",
    "/v1/classify": "classify",
}
"""The value of OPERATION by method or route, where it is another one than EMBEDDINGS."""
