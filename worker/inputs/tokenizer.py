"""Text to token ids, as XLM-RoBERTa does it. Never imports torch or transformers.

Two layouts of files: `tokenizer.json`, which is used as it is, or `sentencepiece.bpe.model` alone, from which
the same thing is built: <s> <pad> </s> <unk> at 0-3, the model's pieces from its fourth on, <mask> last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from worker.arrays import Tokens
from worker.errors import ModelError

__all__ = ["PieceTokenizer", "read_sentencepiece"]

BOS, PAD, EOS, UNK, MASK = "<s>", "<pad>", "</s>", "<unk>", "<mask>"
# Values of SentencePiece.Type in sentencepiece_model.proto.
CONTROL, USER_DEFINED = 3, 4


class PieceTokenizer:
    """The `Tokenizer` of families with XLM-RoBERTa's vocabulary; may be called from many threads."""

    def __init__(self, backend: tokenizers.Tokenizer, max_tokens: int) -> None:
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._max_tokens = max_tokens

    @classmethod
    def read(cls, directory: Path, max_tokens: int, vocab_size: int, pad_id: int = 1) -> PieceTokenizer:
        """From a model's directory; raises `ModelError`.

        vocab_size: of the word embeddings. pad_id: of the configuration, by which positions are counted.
        """
        backend = read_backend(directory)
        if (pieces := backend.get_vocab_size(with_added_tokens=True)) > vocab_size:
            raise ModelError(f"{directory}: the tokenizer has {pieces} tokens, the model only {vocab_size}")
        if (pad := backend.token_to_id(PAD)) not in (None, pad_id):
            raise ModelError(
                f"{directory}: {PAD} is token {pad} of the tokenizer and {pad_id} of config.json"
            )
        made = cls(backend, max_tokens)
        _check_frame(directory, made, backend)
        return made

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text's ids with <s> and </s>, cut to `max_tokens` with the </s> kept.

        Raises RuntimeError where the library panics.
        """
        with _panics_as_errors():
            if len(texts) == 1:  # no thread pool for the commonest call
                encodings = [self._backend.encode(texts[0])]
            else:
                encodings = self._backend.encode_batch_fast(list(texts))
        return [self._tokens(encoding.ids) for encoding in encodings]

    def _tokens(self, ids: list[int]) -> Tokens:
        if len(ids) <= self._max_tokens:
            return Tokens(np.array(ids, np.int32), False)
        return Tokens(np.array([*ids[: self._max_tokens - 1], ids[-1]], np.int32), True)


def read_backend(directory: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a model's directory; raises `ModelError`."""
    for name, read in (("tokenizer.json", _read_json), ("sentencepiece.bpe.model", read_sentencepiece)):
        path = directory / name
        if path.is_file():
            try:
                with _panics_as_errors():
                    return read(path)
            except ModelError:
                raise
            except Exception as error:  # tokenizers raises bare Exception
                raise ModelError(f"{path} is not a tokenizer: {error}") from error
    raise ModelError(f"{directory} has neither tokenizer.json nor sentencepiece.bpe.model")


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """Raises RuntimeError where the library's Rust panics. What it raises is no Exception: whoever keeps the
    failure of a text from others, or tells a caller, would let it pass."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            raise
        raise RuntimeError(f"the tokenizer panicked: {error}") from error


def _read_json(path: Path) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    if tokenizer.post_processor is None:
        _add_frame(tokenizer)
    return tokenizer


def _add_frame(tokenizer: tokenizers.Tokenizer) -> None:
    """Every text stands between <s>, where its embedding is read, and </s>."""
    first, last = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    if first is None or last is None:
        return  # `_check_frame` refuses it
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        pair=f"{BOS} $A {EOS} {EOS} $B {EOS}",
        special_tokens=[(BOS, first), (EOS, last)],
    )


def _check_frame(directory: Path, made: PieceTokenizer, backend: tokenizers.Tokenizer) -> None:
    """An empty text must be <s> </s>, and any other one stand between them; raises `ModelError`."""
    frame = [backend.token_to_id(BOS), backend.token_to_id(EOS)]
    try:
        empty, word = (tokens.ids.tolist() for tokens in made.encode(["", "a"]))
    except Exception as error:
        raise ModelError(f"{directory}: the tokenizer cannot read a text: {error}") from error
    if empty != frame or [*word[:1], *word[-1:]] != frame or len(word) < 3:
        raise ModelError(
            f"{directory}: the tokenizer makes {empty} of an empty text and {word} of 'a'; a text must stand"
            f" between {BOS} and {EOS}, which are {frame}: its post-processor is another model's"
        )


def read_sentencepiece(path: Path) -> tokenizers.Tokenizer:
    """XLM-RoBERTa's tokenizer from its SentencePiece model; raises `ModelError` unless that is Unigram."""
    pieces: list[tuple[str, float]] = []
    added: list[AddedToken] = []
    charsmap = b""
    for field, value in _fields(path.read_bytes()):
        if field == 1 and isinstance(value, bytes):  # ModelProto.pieces
            piece = dict(_fields(value))
            text, score = bytes(piece.get(1, b"")).decode(), piece.get(2, b"\0\0\0\0")
            pieces.append((text, struct.unpack("<f", score)[0] if isinstance(score, bytes) else 0.0))
            if piece.get(3) in (CONTROL, USER_DEFINED):
                added.append(AddedToken(text, normalized=False, special=piece[3] == CONTROL))
        elif field == 2 and isinstance(value, bytes):  # ModelProto.trainer_spec
            if dict(_fields(value)).get(3, 1) != 1:
                raise ModelError(f"{path} is not a Unigram model")
        elif field == 3 and isinstance(value, bytes):  # ModelProto.normalizer_spec
            found = dict(_fields(value)).get(2, b"")
            charsmap = found if isinstance(found, bytes) else b""
    if len(pieces) < 4:
        raise ModelError(f"{path} holds no pieces")
    vocabulary = [(BOS, 0.0), (PAD, 0.0), (EOS, 0.0), (UNK, 0.0), *pieces[3:], (MASK, 0.0)]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    if charsmap:
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    special = [AddedToken(text, normalized=False, special=True) for text in (BOS, PAD, EOS, UNK, MASK)]
    tokenizer.add_tokens([*added, *special])
    _add_frame(tokenizer)
    return tokenizer


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: numbers as int, everything else as its bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(message):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            yield tag >> 3, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError("not a SentencePiece model")
        length = {1: 8, 5: 4}.get(wire) or (varint() if wire == 2 else 0)
        yield tag >> 3, message[at : at + length]
        at += length
