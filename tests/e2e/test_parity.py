"""The running service against transformers itself: same checkpoint, same texts and pictures, float32."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.checkpoints import TEXTS, Size, make_checkpoint
from tests.reference import Reference
from tests.server import start_server
from worker.arrays import Floats

SAME = 0.99999
SMALL: tuple[Size, ...] = ("tiny", "odd", "small")


class Served:
    """One checkpoint: what the service answers for it, and what transformers does."""

    def __init__(self, channel: grpc.Channel, name: str, directory: Path) -> None:
        self.name = name
        self.stub: Any = EmbeddingServiceStub(channel)
        self.reference = Reference(directory)

    def text(self, *texts: str) -> Floats:
        return rows(self.stub.EmbedText(pb.EmbedTextRequest(model=self.name, texts=texts)).embeddings)

    def image(self, *images: Image.Image) -> Floats:
        request = pb.EmbedImageRequest(model=self.name, images=[encoded(image) for image in images])
        return rows(self.stub.EmbedImage(request).embeddings)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    base = tmp_path_factory.mktemp("models")
    layouts: dict[Size, Any] = {"tiny": "json", "odd": "sentencepiece", "small": "both"}
    places = {
        str(size): make_checkpoint(base / size, size=size, tokenizer=layout)
        for size, layout in layouts.items()
    }
    yield from serve(places)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    yield from serve({"full": make_checkpoint(tmp_path_factory.mktemp("models") / "full", size="full")})


def serve(places: dict[str, Path]) -> Iterator[dict[str, Served]]:
    arguments = [argument for name, place in places.items() for argument in ("--model", f"{name}={place}")]
    with (
        start_server(*arguments, "--dtype", "float32", ready_seconds=300) as server,
        grpc.insecure_channel(server.grpc, options=[("grpc.max_receive_message_length", -1)]) as channel,
    ):
        yield {name: Served(channel, name, place) for name, place in places.items()}


def rows(embeddings: pb.Embeddings) -> Floats:
    return np.frombuffer(embeddings.data, "<f4").reshape(embeddings.count, embeddings.dimension)


def encoded(image: Image.Image) -> pb.Image:
    file = io.BytesIO()
    image.save(file, "PNG")
    return pb.Image(content=file.getvalue())


def drawings() -> Sequence[Image.Image]:
    """Pictures of many shapes and modes, smooth and noisy."""
    generator = np.random.default_rng(3)
    made = [
        Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
        for width, height in ((32, 32), (300, 200), (50, 411), (64, 64), (7, 5), (640, 480))
    ]
    ramp = np.linspace(0, 255, 120 * 90, dtype=np.uint8).reshape(90, 120)
    made += [Image.fromarray(ramp), Image.fromarray(ramp).convert("P")]
    made.append(Image.fromarray(generator.integers(0, 256, (80, 60, 4), np.uint8), "RGBA"))
    return made


def cosines(found: Floats, expected: Floats) -> Floats:
    """Of each row with its own."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    result: Floats = (found * expected).sum(axis=1) / lengths
    return result


@pytest.mark.parametrize("size", SMALL)
def test_texts_alone_and_together_equal_the_reference(served: dict[str, Served], size: str) -> None:
    check_texts(served[size])


@pytest.mark.parametrize("size", SMALL)
def test_pictures_alone_and_together_equal_the_reference(served: dict[str, Served], size: str) -> None:
    check_images(served[size])


@pytest.mark.parametrize("size", SMALL)
def test_mixed_calls_at_once_equal_the_reference(served: dict[str, Served], size: str) -> None:
    check_mixed(served[size])


@pytest.mark.parametrize("size", SMALL)
def test_scores_equal_the_reference(served: dict[str, Served], size: str) -> None:
    check_scores(served[size])


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("variant", [0, 1])
def test_prompt_states_equal_the_reference(served: dict[str, Served], size: str, variant: int) -> None:
    check_states(served[size], variant)


@pytest.mark.full_size
@pytest.mark.timeout(900)
def test_the_real_size_equals_the_reference(full: dict[str, Served]) -> None:
    one = full["full"]
    check_texts(one)
    check_images(one)
    check_mixed(one)
    check_scores(one)
    check_states(one, 0)
    check_states(one, 1)


def check_texts(served: Served) -> None:
    expected = served.reference.text(TEXTS)
    assert cosines(served.text(*TEXTS), expected).min() >= SAME
    alone = np.concatenate([served.text(text) for text in TEXTS])
    assert cosines(alone, expected).min() >= SAME


def check_images(served: Served) -> None:
    expected = served.reference.image(drawings())
    assert cosines(served.image(*drawings()), expected).min() >= SAME
    alone = np.concatenate([served.image(drawing) for drawing in drawings()])
    assert cosines(alone, expected).min() >= SAME


def check_mixed(served: Served) -> None:
    texts = dict(zip(TEXTS, served.reference.text(TEXTS), strict=True))
    images = served.reference.image(drawings())
    with ThreadPoolExecutor(16) as threads:
        by_text = [(text, threads.submit(served.text, text)) for text in TEXTS * 3]
        by_image = [
            (row, threads.submit(served.image, drawing))
            for drawing, row in zip(drawings(), images, strict=True)
        ]
        for text, done in by_text:
            assert cosines(done.result(), texts[text][None]).min() >= SAME
        for row, done in by_image:
            assert cosines(done.result(), row[None]).min() >= SAME


def check_scores(served: Served) -> None:
    query_texts, images = TEXTS[:5], drawings()[:4]
    request = pb.SimilarityRequest(
        model=served.name,
        queries=[pb.Item(text=text) for text in query_texts],
        candidates=[pb.Item(image=encoded(image)) for image in images],
        score=pb.SCORE_LOGIT,
    )
    answer = served.stub.Similarity(request)
    texts, pictures = (
        matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        for matrix in (served.reference.text(query_texts), served.reference.image(images))
    )
    scale = float(served.reference.model.logit_scale.detach().exp())
    assert answer.logit_scale == pytest.approx(scale, rel=1e-6)
    found = np.array([list(row.scores) for row in answer.rows])
    np.testing.assert_allclose(found, scale * texts @ pictures.T, atol=scale * 2e-5)


def check_states(served: Served, variant: int) -> None:
    request = pb.EncodePromptRequest(
        model=served.name,
        texts=TEXTS,
        states=pb.PROMPT_STATES_ALTCLIP if variant else pb.PROMPT_STATES_ALTDIFFUSION,
    )
    answer = served.stub.EncodePrompt(request)
    found = np.frombuffer(answer.data, "<f4").reshape(answer.count, answer.token_count, answer.dimension)
    expected = served.reference.prompt(TEXTS, variant)
    assert found.shape == expected.shape
    together = found.reshape(-1, answer.dimension), expected.reshape(-1, answer.dimension)
    assert cosines(*together).min() >= SAME
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
