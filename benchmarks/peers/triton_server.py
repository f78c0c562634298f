"""Triton, through pytriton, with its dynamic batcher: a model for each kind, bytes in, a vector out."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from model import Model
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

DIRECTORY, PORT = sys.argv[1], int(sys.argv[2])


def main() -> None:
    model = Model(DIRECTORY)

    def rows(answers: list[bytes]) -> list[npt.NDArray[np.float32]]:
        return [np.stack([np.frombuffer(answer, np.float32) for answer in answers])]

    @batch
    def text(data: npt.NDArray[np.bytes_]) -> list[npt.NDArray[np.float32]]:
        return rows(model.embed_texts([one[0].decode() for one in data]))

    @batch
    def image(data: npt.NDArray[np.bytes_]) -> list[npt.NDArray[np.float32]]:
        return rows(model.embed_images([one[0] for one in data]))

    config = TritonConfig(http_port=PORT, http_address="127.0.0.1", allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        for name, run, size in (("image", image, 8), ("text", text, 32)):
            triton.bind(
                model_name=name,
                infer_func=run,
                inputs=[Tensor(name="data", dtype=object, shape=(1,))],
                outputs=[Tensor(name="embedding", dtype=np.float32, shape=(-1,))],
                config=ModelConfig(
                    max_batch_size=size, batcher=DynamicBatcher(max_queue_delay_microseconds=10_000)
                ),
                strict=False,
            )
        triton.serve()


if __name__ == "__main__":
    main()
