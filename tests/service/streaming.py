"""Streams against a running server: their messages, and what they answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2

from altclip.v1 import embedding_service_pb2 as pb
from tests.service.fake_pools import DIMENSION
from tests.service.running import Refused, Running, detail

CONFIG = pb.EmbedStreamRequest(config=pb.StreamConfig())


def batch(*items: pb.StreamItem) -> pb.EmbedStreamRequest:
    return pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))


def texts(numbers: Iterable[int]) -> pb.EmbedStreamRequest:
    return batch(*(pb.StreamItem(id=str(number), text=f"text {number}") for number in numbers))


class Answers:
    """Everything a stream gave, by id."""

    def __init__(self, messages: Sequence[pb.EmbedStreamResponse]) -> None:
        self.messages = messages
        self.rows: dict[str, Any] = {}
        self.errors: dict[str, pb.StreamError] = {}
        self.truncated: set[str] = set()
        for message in messages:
            assert message.embeddings.count == len(message.ids)
            if message.ids:
                rows = np.frombuffer(message.embeddings.data, "<f4").reshape(len(message.ids), DIMENSION)
                self.rows.update(zip(message.ids, rows, strict=True))
            self.errors.update({error.id: error for error in message.errors})
            self.truncated.update(message.ids[index] for index in message.truncated)

    def reason(self, name: str) -> str:
        return str(detail(self.errors[name].status, error_details_pb2.ErrorInfo).reason)


async def run(service: Running, *requests: pb.EmbedStreamRequest, half_close: bool = True) -> Answers:
    """Sends these and takes all answers; raises Refused."""
    call = service.stream()

    async def send() -> None:
        for request in requests:
            await call.write(request)
        if half_close:
            await call.done_writing()

    sending = asyncio.create_task(send())
    try:
        return Answers([message async for message in call])
    except grpc.aio.AioRpcError as error:
        raise Refused(error) from None
    finally:
        await asyncio.gather(sending, return_exceptions=True)
