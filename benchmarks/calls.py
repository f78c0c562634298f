"""Unary calls to a running service, from messages made beforehand: the load generator spends as little as
it can of the processor that it shares with what it measures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks.load import Call

__all__ = ["OPTIONS", "image_requests", "text_requests", "unary"]

SERVICE = "/altclip.v1.EmbeddingService"
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection each, which several frontends can share out
)


def text_requests(texts: Sequence[str]) -> list[bytes]:
    """One text a message."""
    return [pb.EmbedTextRequest(texts=[text]).SerializeToString() for text in texts]


def image_requests(images: Sequence[bytes]) -> list[bytes]:
    """One picture a message."""
    return [pb.EmbedImageRequest(images=[pb.Image(content=image)]).SerializeToString() for image in images]


@asynccontextmanager
async def unary(
    address: str, method: str, requests: Sequence[bytes], timeout: float | None = None
) -> AsyncIterator[Call]:
    """Call N sends request N, from the start again where there are fewer. method: EmbedText or EmbedImage."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/{method}")

        async def call(number: int) -> None:
            answer = await send(requests[number % len(requests)], timeout=timeout)
            assert len(answer) > 768 * 4, "an answer without an embedding"

        yield call
