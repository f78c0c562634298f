"""Token ids are those of transformers' own tokenizer, from either layout of files, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import normalizers
from transformers import AutoTokenizer

from tests.checkpoints import TEXTS, configuration
from tests.panics import LETTER, charsmap, panicking
from worker.errors import ModelError
from worker.inputs.tokenizer import PieceTokenizer, read_sentencepiece

Checkpoints = Callable[..., Path]
ODD_TEXTS = ["<s>", "a </s> b <mask> c<pad>d", " ", "\n", "\u200b", "e\u0301 \u00e9", "x" * 3000, "㊙️🈚", "ﷺ"]


WITH_EMPTY_CHARSMAP = (
    b'{"version": "1.0", "normalizer": {"type": "Precompiled", "precompiled_charsmap": ""},'
    b' "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}}'
)


def read(directory: Path) -> PieceTokenizer:
    return PieceTokenizer.read(directory, 77, 10_000)


@pytest.mark.parametrize("layout", ["json", "sentencepiece", "both"])
def test_ids_are_those_of_transformers(checkpoints: Checkpoints, layout: str) -> None:
    directory = checkpoints(tokenizer=layout, weights="none")
    theirs = AutoTokenizer.from_pretrained(directory)
    ours = read(directory).encode(TEXTS + ODD_TEXTS)
    for text, tokens in zip(TEXTS + ODD_TEXTS, ours, strict=True):
        assert tokens.ids.tolist() == theirs(text, truncation=True, max_length=77)["input_ids"], repr(text)
        assert tokens.truncated == (len(theirs(text)["input_ids"]) > 77)
        assert tokens.ids.dtype == np.int32


def test_one_text_gives_what_it_gives_in_a_batch(checkpoints: Checkpoints) -> None:
    tokenizer = read(checkpoints(tokenizer="json", weights="none"))
    for text, tokens in zip(TEXTS, tokenizer.encode(TEXTS), strict=True):
        assert tokenizer.encode([text])[0].ids.tolist() == tokens.ids.tolist()


def test_an_empty_text_is_its_special_tokens(checkpoints: Checkpoints) -> None:
    tokens = read(checkpoints(tokenizer="json", weights="none")).encode([""])[0]
    assert (tokens.ids.tolist(), tokens.truncated) == ([0, 2], False)


def test_a_long_text_is_cut_with_its_end_kept_and_says_so(checkpoints: Checkpoints) -> None:
    tokens = read(checkpoints(tokenizer="json", weights="none")).encode(["dog " * 100])[0]
    assert len(tokens.ids) == 77
    assert (tokens.ids[0], tokens.ids[-1], tokens.truncated) == (0, 2, True)


def test_mask_comes_last_and_the_first_ids_are_xlm_robertas(checkpoints: Checkpoints) -> None:
    backend = read_sentencepiece(
        checkpoints(tokenizer="sentencepiece", weights="none") / "sentencepiece.bpe.model"
    )
    assert [backend.id_to_token(number) for number in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert backend.token_to_id("<mask>") == backend.get_vocab_size() - 1


def test_a_tokenizer_may_have_fewer_pieces_than_the_model_but_not_more(checkpoints: Checkpoints) -> None:
    directory = checkpoints(tokenizer="json", weights="none")
    pieces = read(directory)._backend.get_vocab_size()
    assert pieces < configuration("tiny")["text_config"]["vocab_size"]
    with pytest.raises(ModelError, match="tokens, the model only"):
        PieceTokenizer.read(directory, 77, pieces - 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff"),
        ("tokenizer.json", WITH_EMPTY_CHARSMAP),  # its library panics
        ("sentencepiece.bpe.model", b"\x0f"),
        ("sentencepiece.bpe.model", b"\x0a\xff\xff"),
        ("sentencepiece.bpe.model", b""),
        (None, b""),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused_by_name(
    tmp_path: Path, name: str | None, content: bytes
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name or "neither"):
        read(tmp_path)


@pytest.mark.parametrize("texts", [[f"caf{LETTER}"], ["tea", f"caf{LETTER}"]])
def test_a_panic_of_the_library_is_an_exception_like_every_other(texts: list[str]) -> None:
    backend = panicking()
    with pytest.raises(BaseException, match="index out of bounds") as panic:
        backend.encode(LETTER)
    assert not isinstance(panic.value, Exception)
    tokenizer = PieceTokenizer(backend, 77)
    with pytest.raises(RuntimeError, match="panicked"):
        tokenizer.encode(texts)
    assert [tokens.ids.tolist() for tokens in tokenizer.encode(["tea", "tea"])] == [[0, 3, 2]] * 2


def test_a_tokenizer_that_panics_on_every_text_is_refused_by_name(tmp_path: Path) -> None:
    backend = panicking()
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace("a", LETTER), normalizers.Precompiled(charsmap())]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=f"{tmp_path}: the tokenizer cannot read a text: .*panicked"):
        read(tmp_path)


def test_tokenising_and_preparing_images_imports_neither_torch_nor_transformers(
    checkpoints: Checkpoints,
) -> None:
    script = """
import io, sys
from PIL import Image
from worker.families import family
from worker.models.sources import resolve
spec = resolve("m=" + sys.argv[1])
files = family(spec.model_type)
assert files.tokenizer(spec).encode(["a photo of a cat", ""])[0].ids.size > 2
buffer = io.BytesIO()
Image.new("RGB", (40, 30)).save(buffer, "PNG")
assert files.image_processor(spec).prepare(buffer.getvalue()).shape == (32, 32, 3)
assert not {"torch", "transformers", "grpc"} & sys.modules.keys()
"""
    for layout in ("json", "sentencepiece"):
        directory = str(checkpoints(tokenizer=layout, weights="safetensors"))
        subprocess.run([sys.executable, "-c", script, directory], check=True, cwd=Path(__file__).parents[3])
