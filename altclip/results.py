"""What a caller gets: frozen results with numpy arrays. `calls/answers.py` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from altclip.errors import AltClipError, Internal

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Timings:
    """How long the work took, seen by the server; of a split call the longest of its parts.

    Attributes:
        queue: Seconds that an item waited for the device at most.
        inference: Seconds that a batch with an item of the call took at most.
        batch_size: The number of items in the largest of these batches; 0 where nothing was computed.

    >>> timings = client.embed_text("a cat").timings
    >>> timings.queue >= 0 and timings.inference >= 0
    True
    """

    queue: float = 0.0
    inference: float = 0.0
    batch_size: int = 0


@dataclass(frozen=True, eq=False)
class Embeddings:
    """A matrix of embeddings as it was sent.

    Attributes:
        encoding: float32, float16, int8 or binary.
        dimension: The number of components of an embedding.
        codes: [n, dimension] in the encoding's own type; for binary uint8 [n, ceil(dimension / 8)].
        scales: float32 [n] for int8, empty otherwise.

    >>> embeddings = client.embed_text("a cat", encoding="int8").embeddings
    >>> embeddings.codes.dtype, embeddings.scales.shape, embeddings.vectors.dtype
    (dtype('int8'), (1,), dtype('float32'))
    """

    encoding: str
    dimension: int
    codes: npt.NDArray[Any]
    scales: Floats

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def vectors(self) -> Floats:
        """float32 [n, dimension]. Of binary only the signs are known: 1 and -1."""
        if self.encoding == "int8":
            scaled: Floats = np.multiply(self.codes, self.scales[:, None], dtype=np.float32)
            return scaled
        if self.encoding == "binary":
            return np.where(self.bits, np.float32(1), np.float32(-1))
        return self.codes.astype(np.float32, copy=False)

    @cached_property
    def bits(self) -> npt.NDArray[np.bool_]:
        """bool [n, dimension]: where a component is greater than 0."""
        if self.encoding == "binary":
            return np.unpackbits(self.codes, axis=1, count=self.dimension).astype(np.bool_)
        return self.codes > 0


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the answers of all calls have.

    Attributes:
        model: The name of the model that answered.
        revision: The first 16 hex digits of its weights' SHA-256; vectors of different revisions must not be
            compared. Empty while the server is still computing it.
        timings: How long the work took.
        request_id: The id of the call, as in the server's log.
    """

    model: str
    revision: str
    timings: Timings
    request_id: str


@dataclass(frozen=True, eq=False)
class ImageEmbeddings(_Answer):
    """The embeddings of pictures; row i belongs to picture i.

    Attributes:
        embeddings: The matrix as it was sent.

    >>> pictures = client.embed_image(Path("cat.png"))
    >>> len(pictures), pictures.vectors.shape
    (1, (1, 192))
    """

    embeddings: Embeddings

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def vectors(self) -> Floats:
        """float32 [n, dimension]."""
        return self.embeddings.vectors


@dataclass(frozen=True, eq=False)
class TextEmbeddings(ImageEmbeddings):
    """The embeddings of texts; row i belongs to text i.

    Attributes:
        token_counts: The number of tokens of each text as computed, its special tokens included.
        truncated: The indices of the texts that were cut.

    >>> words = client.embed_text(["", "cat " * 100])
    >>> words.token_counts, words.truncated
    ((2, 77), (1,))
    """

    token_counts: tuple[int, ...]
    truncated: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Similarities(_Answer):
    """Scores of queries against candidates.

    Attributes:
        scores: float32 [queries, candidates] in their order; with `top_k` [queries, k], best first.
        indices: With `top_k` the candidate of each score, int64 [queries, k]; None otherwise.
        logit_scale: What a cosine is multiplied by to make a logit.
        truncated: The texts that were cut, counted through the queries first and the candidates after them.

    >>> found = client.similarity(Path("cat.png"), ["car", "cat"], score="probability", top_k=1)
    >>> found.indices, found.scores.shape
    (array([[1]]), (1, 1))
    """

    scores: Floats
    indices: npt.NDArray[np.int64] | None
    logit_scale: float
    truncated: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label, its index among the labels of the call, and its probability, the softmax over all labels.

    >>> best = client.classify(Path("cat.png"), ["car", "cat"], top_k=1).results[0][0]
    >>> best.label, best.index
    ('cat', 1)
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True, eq=False)
class Classifications(_Answer):
    """The labels of pictures.

    Attributes:
        results: For each picture its labels, all in their order or the `top_k` best, best first.
        truncated: The indices of the labels of which a prompt was cut.

    >>> found = client.classify(Path("cat.png"), ["coche", "gato"], language="es")
    >>> [score.label for score in found.results[0]]
    ['coche', 'gato']
    """

    results: tuple[tuple[LabelScore, ...], ...]
    truncated: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PromptEncodings(_Answer):
    """The states of every token position, as a diffusion model takes them.

    Attributes:
        states: [n, tokens, state dimension], float32 or float16 as asked for.
        attention_mask: uint8 [n, tokens]: 1 for a token, 0 for padding.
        truncated: The indices of the texts that were cut.

    >>> prompts = client.encode_prompt(["a black cat", ""])
    >>> prompts.states.shape, prompts.attention_mask.sum(axis=1)
    ((2, 77, 192), array([6, 2], dtype=uint64))
    """

    states: npt.NDArray[Any]
    attention_mask: npt.NDArray[np.uint8]
    truncated: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What became of one item of a stream: either `embeddings` (one row) or `error` is set.

    Attributes:
        id: The caller's id of the item; its index where none was given.
        index: The item's position in the stream, from 0.
        embeddings: A matrix of one row.
        error: Why there is none. The stream goes on.
        truncated: Whether the text was cut.
        token_count: The number of tokens of the text as computed, its special tokens included. 0 for a
            picture.
        revision: The revision of the weights, as in every answer.
        timings: How long the work took.

    >>> results = client.embed_stream([("mine", "a cat"), ("bad", b"no image")])
    >>> for result in sorted(results, key=lambda result: result.index):
    ...     print(result.id, result.error.reason if result.error else result.vector.shape)
    mine (192,)
    bad UNDECODABLE_IMAGE
    """

    id: object
    index: int
    embeddings: Embeddings | None = None
    error: AltClipError | None = None
    truncated: bool = False
    token_count: int = 0
    revision: str = ""
    timings: Timings = Timings()

    @property
    def vector(self) -> Floats:
        """float32 [dimension]. Raises the item's error where there is one."""
        if self.embeddings is None:
            raise self.error or Internal("the item has no embedding")
        row: Floats = self.embeddings.vectors[0]
        return row


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request to a model may hold; the names are those of the API's `ModelLimits`.

    >>> client.get_model().limits.max_texts
    256
    """

    max_texts: int
    max_images: int
    max_items: int
    max_labels: int
    max_templates: int
    max_prompts: int
    max_stream_items: int
    max_text_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the server; the names are those of the API's `Model`.

    >>> model = client.get_model()
    >>> model.name, model.dimension, model.max_tokens, model.ready
    ('bundled', 192, 77, True)
    """

    name: str
    source: str
    revision: str
    languages: tuple[str, ...]
    dimension: int
    max_tokens: int
    image_size: int
    logit_scale: float
    device: str
    dtype: str
    weights_sha256: str
    ready: bool
    state_dimension: int
    aliases: tuple[str, ...]
    limits: Limits
