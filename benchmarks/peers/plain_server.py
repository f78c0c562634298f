"""transformers behind a plain grpc.aio server: a call is one forward pass, one at a time. No batches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
from model import Model


async def main() -> None:
    model = Model(sys.argv[1])
    one = ThreadPoolExecutor(1)

    def method(run: Callable[[Sequence[bytes]], list[bytes]]) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(request: bytes, context: object) -> bytes:
            return (await asyncio.get_running_loop().run_in_executor(one, run, [request]))[0]

        return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handlers = {
        "text": method(lambda texts: model.embed_texts([text.decode() for text in texts])),
        "image": method(model.embed_images),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plain", handlers),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[2]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
