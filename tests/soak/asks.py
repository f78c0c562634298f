"""What unary callers ask, drawn at random, and what must come back: right answers, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from google.protobuf.message import Message

from altclip.v1 import embedding_service_pb2 as pb
from tests.soak.content import POISON, Content, Floats, rows_of
from tests.soak.plan import STUB

__all__ = ["Ask", "draw"]

BAD = 0.06
"""The share of calls with something in them that cannot be served."""


@dataclass(frozen=True, slots=True)
class Ask:
    """right: of the answer. refused: the reasons with which a call must end that holds something bad; empty:
    it should be answered. items: of the answer, by model and modality."""

    method: str
    request: Message
    right: Callable[[Any], bool]
    refused: frozenset[str] = frozenset()
    items: tuple[tuple[str, str, int], ...] = ()


def draw(content: Content, random: Random) -> Ask:
    """One call, bad or good."""
    if random.random() < BAD:
        return _bad(content, random)
    return random.choices((_texts, _images, _similarity, _classify, _prompts), weights=(40, 20, 15, 10, 15))[
        0
    ](content, random)


def _near(content: Content, got: Floats, expected: Floats) -> bool:
    return got.shape == expected.shape and bool(np.allclose(got, expected, rtol=0, atol=content.tolerance))


def _texts(content: Content, random: Random) -> Ask:
    drawn = [content.text(random) for _ in range(random.choice((1, 1, 2, 8)))]
    expected = np.stack([row for _, row in drawn])
    return Ask(
        "EmbedText",
        pb.EmbedTextRequest(model=content.model, texts=[text for text, _ in drawn]),
        lambda answer: _near(content, rows_of(answer.embeddings), expected),
        items=((content.model, "text", len(drawn)),),
    )


def _images(content: Content, random: Random) -> Ask:
    drawn = [content.picture(random) for _ in range(random.choice((1, 1, 3)))]
    expected = np.stack([row for _, row in drawn])
    return Ask(
        "EmbedImage",
        pb.EmbedImageRequest(model=content.model, images=[pb.Image(content=file) for file, _ in drawn]),
        lambda answer: _near(content, rows_of(answer.embeddings), expected),
        items=((content.model, "image", len(drawn)),),
    )


def _similarity(content: Content, random: Random) -> Ask:
    text, first = content.text(random)
    file, second = content.picture(random)
    vector, third = content.text(random)[1], content.text(random)
    items = [
        pb.Item(text=text),
        pb.Item(image=pb.Image(content=file)),
        pb.Item(vector=vector.tobytes()),
        pb.Item(text=third[0]),
    ]
    rows = np.stack([first, second, vector, third[1]])
    expected = (rows[:2] @ rows.T).astype(np.float32)
    return Ask(
        "Similarity",
        pb.SimilarityRequest(model=content.model, queries=items[:2], candidates=items),
        lambda answer: bool(
            np.allclose([row.scores for row in answer.rows], expected, rtol=0, atol=4 * content.tolerance)
        ),
        items=((content.model, "text", 3), (content.model, "image", 2)),
    )


def _classify(content: Content, random: Random) -> Ask:
    labels = list(dict.fromkeys(content.text(random)[0] for _ in range(4)))
    file, _ = content.picture(random)
    templates = ["{}"] if random.random() < 0.7 else ["a picture of {}", "{}"]

    def right(answer: pb.ClassifyImageResponse) -> bool:
        (result,) = answer.results
        total = sum(each.probability for each in result.labels)
        return [each.label for each in result.labels] == labels and abs(total - 1) < 1e-3

    request = pb.ClassifyImageRequest(
        model=content.model, images=[pb.Image(content=file)], labels=labels, templates=templates
    )
    return Ask("ClassifyImage", request, right, items=((content.model, "image", 1),))


def _prompts(content: Content, random: Random) -> Ask:
    text, _ = content.text(random)
    expected = content.states(text)

    def right(answer: pb.EncodePromptResponse) -> bool:
        states = np.frombuffer(answer.data, "<f4").reshape(-1, answer.token_count, answer.dimension)
        return len(states) == 1 and (expected is None or _near(content, states[0], expected))

    request = pb.EncodePromptRequest(model=content.model, texts=[text])
    return Ask("EncodePrompt", request, right, items=((content.model, "prompt", 1),))


def _bad(content: Content, random: Random) -> Ask:
    text, _ = content.text(random)
    file, _ = content.picture(random)
    broken = file[: len(file) // 2] if random.random() < 0.5 else b"no picture at all"
    kinds = [
        ("EmbedText", pb.EmbedTextRequest(model=content.model), "INVALID_REQUEST"),
        ("EmbedText", pb.EmbedTextRequest(model="nobody", texts=[text]), "MODEL_NOT_FOUND"),
        (
            "EmbedText",
            pb.EmbedTextRequest(
                model=content.model,
                texts=[text, "word " * 100],
                options=pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT),
            ),
            "TEXT_TOO_LONG",
        ),
        (
            "EmbedImage",
            pb.EmbedImageRequest(
                model=content.model, images=[pb.Image(content=file), pb.Image(content=broken)]
            ),
            "UNDECODABLE_IMAGE",
        ),
    ]
    if content.model == STUB:
        poisoned = pb.EmbedTextRequest(model=STUB, texts=[text, f"{text} {POISON}"])
        kinds.append(("EmbedText", poisoned, "INTERNAL"))
    method, request, reason = random.choice(kinds)
    return Ask(method, request, lambda _: False, frozenset({reason}))
