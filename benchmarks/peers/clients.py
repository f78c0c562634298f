"""How each peer is asked for one embedding, with the message made beforehand. Each gives back a `Call`."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
import grpc

from benchmarks.load import Call

__all__ = ["PEERS", "client"]

LEAST_BYTES = 768 * 3
"""No embedding is shorter, however it is written."""

Message = tuple[str, bytes, dict[str, str]]
"""Path, body, headers."""


def _raw(kind: str, content: bytes) -> Message:
    return f"/{kind}", content, {}


def _litserve(kind: str, content: bytes) -> Message:
    body = json.dumps({"data": base64.b64encode(content).decode()}).encode()
    return f"/{kind}", body, {"content-type": "application/json"}


def _infinity(kind: str, content: bytes) -> Message:
    uri = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    request = {
        "model": "full-size",
        "input": [content.decode() if kind == "text" else uri],
        "modality": kind,
        "encoding_format": "base64",
    }
    return "/embeddings", json.dumps(request).encode(), {"content-type": "application/json"}


def _triton(kind: str, content: bytes) -> Message:
    """Its binary protocol: a JSON header, then the element with its length before it."""
    element = len(content).to_bytes(4, "little") + content
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "data",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(element)},
                }
            ],
            "outputs": [{"name": "embedding", "parameters": {"binary_data": True}}],
        }
    ).encode()
    return f"/v2/models/{kind}/infer", header + element, {"Inference-Header-Content-Length": str(len(header))}


PEERS: dict[str, Callable[[str, bytes], Message]] = {
    "plain": _raw,
    "infinity": _infinity,
    "triton": _triton,
    "litserve": _litserve,
    "mosec": _raw,
}


@asynccontextmanager
async def client(peer: str, port: int, kind: str, contents: Sequence[bytes]) -> AsyncIterator[Call]:
    """Call N sends content N. kind: text or image."""
    if peer == "plain":
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/plain/{kind}")

            async def ask(number: int) -> None:
                assert len(await send(contents[number % len(contents)])) >= LEAST_BYTES

            yield ask
        return
    messages = [PEERS[peer](kind, content) for content in contents]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def post(number: int) -> None:
            path, body, headers = messages[number % len(messages)]
            url = f"http://127.0.0.1:{port}{path}"
            async with session.post(url, data=body, headers=headers) as response:
                answer = await response.read()
                assert response.status == 200, f"{peer}: {response.status} {answer[:200]!r}"
                assert len(answer) >= LEAST_BYTES, f"{peer}: no embedding"

        yield post
