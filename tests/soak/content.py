"""What is said and shown to each model, and what must come back: rows of length 1, float32 [dimension]."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from demo.pictures import FOLDER as PICTURES
from service.frontend.api.vectors import lengths, normalized
from tests.load import picture
from worker.families import family
from worker.models.sources import resolve

__all__ = ["POISON", "Computed", "Content", "Floats", "Learned", "rows_of"]

Floats = npt.NDArray[np.float32]
POISON = "poison"
"""A word that the stub fails on."""

_WORDS = ("red", "cat", "on", "a", "mat", "две", "кошки", "猫", "قطة", "in", "the", "rain", "with", "dogs")


def rows_of(embeddings: pb.Embeddings) -> Floats:
    """float32 [count, dimension]."""
    return np.frombuffer(embeddings.data, "<f4").reshape(embeddings.count, embeddings.dimension)


class Content(Protocol):
    """One model's."""

    model: str
    logit_scale: float
    tolerance: float
    """How far a component may be from what is expected: the order of sums depends on the batch."""

    def text(self, random: Random) -> tuple[str, Floats]:
        """A text and its row."""
        ...

    def picture(self, random: Random) -> tuple[bytes, Floats]:
        """A file that was not sent before, and its row."""
        ...

    def states(self, text: str) -> Floats | None:
        """A prompt's states, [tokens, width]; None where nobody knows."""
        ...


class Computed:
    """A stub's: what must come back is computed here, so no two texts need be the same."""

    tolerance = 1e-5

    def __init__(self, model: str, source: str) -> None:
        self.model = model
        spec = resolve(f"{model}={source}")
        kind = family(spec.model_type)
        self._tokenizer = kind.tokenizer(spec)
        self._images = kind.image_processor(spec)
        self._encoder = kind.load(spec, "cpu", "auto", 1)
        self.logit_scale = self._encoder.info.logit_scale
        self._numbers = itertools.count()
        self._poison = self._tokenizer.encode([POISON])[0].ids[1]

    def text(self, random: Random) -> tuple[str, Floats]:
        """Of up to twenty words."""
        while True:
            text = " ".join([str(next(self._numbers)), *random.choices(_WORDS, k=random.randint(1, 20))])
            ids = self._tokenizer.encode([text])[0].ids
            if self._poison not in ids:  # among some hundred thousand numbers one has the same checksum
                return text, _normal(self._encoder.text([ids])())

    def picture(self, random: Random) -> tuple[bytes, Floats]:
        """A small PNG."""
        content = picture(f"{self.model} {next(self._numbers)}")
        return content, _normal(self._encoder.image([self._images.prepare(content)])())

    def states(self, text: str) -> Floats | None:
        """AltDiffusion's."""
        states: Floats = self._encoder.prompt([self._tokenizer.encode([text])[0].ids], [0])()[0]
        return states


class Learned:
    """The bundled model's: what came back when it was quiet must come back in trouble, too.

    texts, pictures: all that it is asked for.
    """

    tolerance = 2e-3
    logit_scale = 0.0

    def __init__(self, model: str) -> None:
        self.model = model
        names = json.loads((PICTURES / "names.json").read_text(encoding="utf-8"))
        self.texts = [name for each in names[:12] for name in each["names"].values()]
        self.pictures = _files()
        self._text_rows = self._picture_rows = np.empty((0, 0), np.float32)

    async def learn(self, stub: Any, metadata: Sequence[tuple[str, str]]) -> None:
        """Asks once for everything. The server should be quiet."""
        texts = pb.EmbedTextRequest(model=self.model, texts=self.texts)
        self._text_rows = rows_of((await stub.EmbedText(texts, metadata=metadata, timeout=60)).embeddings)
        images = pb.EmbedImageRequest(
            model=self.model, images=[pb.Image(content=content) for content in self.pictures]
        )
        self._picture_rows = rows_of(
            (await stub.EmbedImage(images, metadata=metadata, timeout=60)).embeddings
        )

    def text(self, random: Random) -> tuple[str, Floats]:
        """A name of something, in one of nine languages."""
        index = random.randrange(len(self.texts))
        return self.texts[index], self._text_rows[index]

    def picture(self, random: Random) -> tuple[bytes, Floats]:
        """A picture that was learned; bytes after its end make another file of it."""
        index = random.randrange(len(self.pictures))
        return self.pictures[index] + random.randbytes(8), self._picture_rows[index]

    def states(self, text: str) -> Floats | None:
        """Nobody knows."""
        return None


def _normal(row: Floats) -> Floats:
    first: Floats = normalized(row, lengths(row))[0]
    return first


def _files() -> list[bytes]:
    """Every fourth picture of the demo in each format and several sizes, up to two megapixels."""
    kinds = (("PNG", 72), ("JPEG", 300), ("WEBP", 640), ("GIF", 120), ("JPEG", 1500), ("BMP", 100))
    found = []
    for path, (kind, side) in zip(sorted(PICTURES.glob("*.png"))[::4], itertools.cycle(kinds), strict=False):
        with Image.open(path) as opened:
            image = opened.convert("RGB").resize((side, side))
        file = io.BytesIO()
        image.save(file, kind)
        found.append(file.getvalue())
    return found
