"""mosec with dynamic batches: a route for each kind, raw bytes in and out."""

from __future__ import annotations

import os
import sys

DIRECTORY, PORT = os.environ["PEER_MODEL"], os.environ["PEER_PORT"]
sys.argv[1:] = ["--port", PORT, "--address", "127.0.0.1", "--timeout", "600000", "--wait", "600"]

from model import Model  # noqa: E402 - mosec reads the command line, which must be its own by then
from mosec import Runtime, Server, Worker  # noqa: E402


class _Raw(Worker):
    def __init__(self) -> None:
        self.model = Model(DIRECTORY)

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data


class Text(_Raw):
    def forward(self, data: list[bytes]) -> list[bytes]:
        return self.model.embed_texts([text.decode() for text in data])


class Image(_Raw):
    def forward(self, data: list[bytes]) -> list[bytes]:
        return self.model.embed_images(data)


if __name__ == "__main__":
    server = Server()
    server.register_runtime(
        {
            "/text": [Runtime(Text, max_batch_size=32, max_wait_time=10, timeout=600)],
            "/image": [Runtime(Image, max_batch_size=8, max_wait_time=10, timeout=600)],
        }
    )
    server.run()
