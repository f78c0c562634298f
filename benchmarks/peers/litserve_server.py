"""LitServe with dynamic batches: an endpoint for each kind, each with a worker of its own."""

from __future__ import annotations

import base64
import sys

import litserve
from model import Model

DIRECTORY, PORT = sys.argv[1], int(sys.argv[2])


class Api(litserve.LitAPI):
    def __init__(self, kind: str, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=0.01, api_path=f"/{kind}")
        self.kind = kind

    def setup(self, device: str) -> None:
        model = Model(DIRECTORY)
        self.run = (
            (lambda data: model.embed_texts([text.decode() for text in data]))
            if self.kind == "text"
            else model.embed_images
        )

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["data"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, data: list[bytes]) -> list[bytes]:
        return self.run(data)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> dict[str, str]:
        return {"embedding": base64.b64encode(output).decode()}


if __name__ == "__main__":
    server = litserve.LitServer([Api("text", 32), Api("image", 8)], accelerator="cpu", timeout=600)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
