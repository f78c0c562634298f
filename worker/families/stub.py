"""A family without weights, for tests and benchmarks: deterministic vectors, set service times, faults.

SOURCE is `stub:` followed by `key=value` pairs with commas between (`stub:dimension=768,service_time=0.01`):

    dimension, state_dimension, image_size, max_tokens, vocabulary, logit_scale, languages (en|zh)
    service_time, per_item, per_token   seconds a batch, an item, a token take
    overlap=1                           behave as an accelerator: the call enqueues, the result waits
    hold=PATH                           a batch takes as long as this file exists
    held=TRIGGERS                       and then only one that holds one of these
    load_hold=PATH                      loading takes as long as this file exists
    broken=PATH                         every batch fails as long as this file exists, and so does loading
    calls=PATH                          append a line "MODALITY ITEMS" per batch, for any process to read
    load_time=S, load_fault=raise|error|import|abort|hang
    oom_over=N, oom_times=N             `OutOfMemory` for a batch of more than N items; only so many times
    poison, oom, lost, hang, abort, segfault = TRIGGERS
                                        fail the batch, `OutOfMemory`, `DeviceLost`, sleep for ever, die

TRIGGERS are words, or colours as `#rrggbb` of an image's top left pixel, with `|` between; they act on any
batch that holds one. Never imports torch.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from worker.arrays import Floats, Ids, Pixels, Tokens
from worker.errors import DeviceLost, ModelChoiceError, ModelError, OutOfMemory
from worker.families import ImageProcessor, Pending
from worker.spec import ALL_LANGUAGES, MAX_IMAGE_PIXELS, ModelInfo, ModelSpec

__all__ = ["FAMILY", "StubEncoder", "StubTokenizer"]

BOS, EOS, FIRST_WORD = 0, 2, 5
FAULTS = ("poison", "oom", "lost", "hang", "abort", "segfault")
INTEGERS = ("dimension", "state_dimension", "image_size", "max_tokens", "vocabulary", "oom_over", "oom_times")
DEFAULTS = {
    "dimension": "768",
    "state_dimension": "768",
    "image_size": "224",
    "max_tokens": "77",
    "vocabulary": "250002",
    "logit_scale": "100",
    "languages": "|".join(ALL_LANGUAGES),
    "service_time": "0",
    "per_item": "0",
    "per_token": "0",
    "overlap": "0",
    "hold": "",
    "held": "",
    "broken": "",
    "calls": "",
    "load_time": "0",
    "load_hold": "",
    "load_fault": "",
    "oom_over": "0",
    "oom_times": "1000000000",
    **dict.fromkeys(FAULTS, ""),
}


class StubTokenizer:
    """A word is its checksum modulo the vocabulary; no files needed."""

    def __init__(self, vocabulary: int, max_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Whitespace-separated words between <s> and </s>."""
        tokens = []
        for text in texts:
            words = [self.word(word) for word in text.split()]
            kept = words[: self._max_tokens - 2]
            tokens.append(Tokens(np.array([BOS, *kept, EOS], np.int32), len(kept) < len(words)))
        return tokens

    def word(self, word: str) -> int:
        """The id of one word."""
        return FIRST_WORD + zlib.crc32(word.encode()) % (self._vocabulary - FIRST_WORD)


class StubEncoder:
    """Vectors that depend on content alone, so an item gives the same row alone and in any batch."""

    def __init__(self, spec: ModelSpec, options: dict[str, str], device: str) -> None:
        self.info = ModelInfo(device=device, dtype="float32", logit_scale=float(options["logit_scale"]))
        self._spec = spec
        self._options = options
        self._busy_until = 0.0
        self._batch_seconds = float(options["service_time"])
        self._item_seconds = float(options["per_item"])
        self._token_seconds = float(options["per_token"])
        self._overlaps = options["overlap"] != "0"
        self._oom_over = int(options["oom_over"])
        self._oom_times = int(options["oom_times"])
        generator = np.random.Generator(np.random.PCG64(20_221_114))
        self._rows = generator.standard_normal((4 * 256, spec.dimension), np.float32)
        self._states = generator.standard_normal((4 * 256, spec.state_dimension), np.float32)
        self._positions = generator.standard_normal((spec.max_tokens, spec.state_dimension), np.float32)
        word = StubTokenizer(int(options["vocabulary"]), spec.max_tokens).word
        self._words: dict[int, str] = {}
        self._colours: dict[tuple[int, ...], str] = {}
        for name in (*FAULTS, "held"):
            for trigger in filter(None, options[name].split("|")):
                if trigger.startswith("#"):
                    self._colours[tuple(bytes.fromhex(trigger[1:]))] = name
                else:
                    self._words[word(trigger)] = name

    def text(self, sequences: Sequence[Ids]) -> Pending:
        """float32 [batch, dimension]."""
        found = self._found_in_texts(sequences)
        self._enter("text", len(sequences), found)
        return self._finish(sequences, sum(map(len, sequences)), lambda: _mix(self._rows, sequences), found)

    def image(self, images: Sequence[Pixels]) -> Pending:
        """float32 [batch, dimension]."""
        colours = self._colours
        corners = (tuple(map(int, image[0, 0])) for image in images) if colours else ()
        found = {colours.get(corner) for corner in corners}
        self._enter("image", len(images), found)
        return self._finish(images, 0, lambda: _mix(self._rows, images), found)

    def prompt(self, sequences: Sequence[Ids], variants: Sequence[int]) -> Pending:
        """float32 [batch, max_tokens, state_dimension]."""
        found = self._found_in_texts(sequences)
        self._enter("prompt", len(sequences), found)

        def states() -> Floats:
            signs = np.where(np.asarray(variants) == 0, 1, -1).astype(np.float32)
            mixed: Floats = (_mix(self._states, sequences) * signs[:, None])[:, None, :] + self._positions
            return mixed

        return self._finish(sequences, sum(map(len, sequences)), states, found)

    def warm_up(self) -> None:
        """Nothing to warm."""
        self.check()

    def check(self) -> None:
        """Raises RuntimeError while it is `broken`."""
        if (path := self._options["broken"]) and Path(path).exists():
            raise RuntimeError("stub: nothing can be computed")

    def _found_in_texts(self, sequences: Sequence[Ids]) -> set[str | None]:
        return {self._words.get(int(token)) for ids in sequences for token in ids} if self._words else set()

    def _enter(self, modality: str, items: int, found: set[str | None]) -> None:
        if path := self._options["calls"]:
            with Path(path).open(
                "a", encoding="ascii"
            ) as calls:  # one write: lines of several workers never mix
                calls.write(f"{modality} {items}\n")
        self.check()
        if "hang" in found:
            time.sleep(1e9)
        if "abort" in found:
            os.abort()
        if "segfault" in found:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "lost" in found:
            raise DeviceLost("stub: the device is gone")
        if "oom" in found:
            raise OutOfMemory("stub: no room for one of the items")
        if 0 < self._oom_over < items and self._oom_times > 0:
            self._oom_times -= 1
            raise OutOfMemory(f"stub: no room for {items} items")
        if "poison" in found:
            raise RuntimeError("stub: a poison item")

    def _finish(
        self, items: Sequence[object], tokens: int, result: Callable[[], Floats], found: set[str | None]
    ) -> Pending:
        options = self._options
        cost = self._batch_seconds + self._item_seconds * len(items) + self._token_seconds * tokens
        may_be_held = options["hold"] and (not options["held"] or "held" in found)
        self._busy_until = done = max(time.monotonic(), self._busy_until) + cost

        def wait() -> Floats:
            value = result()
            if may_be_held:
                _wait_for_the_end_of(options["hold"])
            if (left := done - time.monotonic()) > 0.0:
                time.sleep(left)
            return value

        if self._overlaps:
            return wait
        value = wait()
        return lambda: value


class StubFamily:
    """See the module."""

    model_type = "stub"

    def describe(self, name: str, source: str, directory: Path, revision: str) -> ModelSpec:
        """From the source's options alone."""
        options = _options(source)
        return ModelSpec(
            name=name,
            source=source,
            directory="",
            revision=revision,
            model_type=self.model_type,
            languages=tuple(options["languages"].split("|")),
            dimension=int(options["dimension"]),
            state_dimension=int(options["state_dimension"]),
            max_tokens=int(options["max_tokens"]),
            image_size=int(options["image_size"]),
        )

    def tokenizer(self, spec: ModelSpec) -> StubTokenizer:
        """Words by checksum."""
        return StubTokenizer(int(_options(spec.source)["vocabulary"]), spec.max_tokens)

    def image_processor(self, spec: ModelSpec, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageProcessor:
        """The real decoder, at the stub's size."""
        from worker.inputs.images import ImagePreparer, Preprocessing

        size = spec.image_size
        return ImagePreparer(Preprocessing(size=size, resize=size), max_pixels)

    def shapes(self, directory: Path) -> dict[str, tuple[int, ...]]:
        """No weights."""
        return {}

    def load(
        self,
        spec: ModelSpec,
        device: str,
        dtype: str,
        threads: int,
        kernels: str = "auto",
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> StubEncoder:
        """Waits as `load_time` and `load_hold` say, then fails as `load_fault` says or is ready."""
        options = _options(spec.source)
        time.sleep(float(options["load_time"]))
        _wait_for_the_end_of(options["load_hold"])
        if options["load_fault"] == "hang":
            time.sleep(1e9)
        if options["load_fault"] == "abort":
            os.abort()
        if options["load_fault"] == "error":
            raise RuntimeError("stub: told to fail\nwhile loading")
        if options["load_fault"] == "import":
            raise ImportError("No module named 'torch'")
        if options["load_fault"]:
            raise ModelError("stub: told to fail while loading")
        return StubEncoder(spec, options, "cpu" if device == "auto" else device)


def _options(source: str) -> dict[str, str]:
    """DEFAULTS with the source's own values; raises `ModelChoiceError` for an unknown key or a bad
    number."""
    options = dict(DEFAULTS)
    for pair in filter(None, source.partition(":")[2].split(",")):
        key, equals, value = pair.partition("=")
        if key not in DEFAULTS or not equals:
            raise ModelChoiceError(f"stub: unknown option {pair!r}; known: {', '.join(DEFAULTS)}")
        if DEFAULTS[key].isdigit():
            try:
                int(value) if key in INTEGERS else float(value)
            except ValueError:
                raise ModelChoiceError(
                    f"stub: option {pair!r} needs a {'whole ' if key in INTEGERS else ''}number"
                ) from None
        options[key] = value
    return options


def _wait_for_the_end_of(path: str) -> None:
    """Returns once that file does not exist; at once for ""."""
    while path and Path(path).exists():
        time.sleep(0.005)


def _mix(rows: Floats, items: Sequence[Ids] | Sequence[Pixels]) -> Floats:
    """One row per item: the sum of four rows, one of each 256, picked by the bytes of the item's checksum."""
    picks = []
    for item in items:
        first, second, third, fourth = zlib.crc32(np.ascontiguousarray(item).data).to_bytes(4, "little")
        picks.append([first, 256 + second, 512 + third, 768 + fourth])
    mixed: Floats = np.add.reduce(rows.take(picks, axis=0), axis=1)
    return mixed


FAMILY = StubFamily()
