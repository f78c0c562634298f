"""A published checkpoint becomes one that is served: whole, checked, with its notices, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from worker.checkpoint import weights_sha256
from worker.errors import ModelError
from worker.families import family
from worker.models import convert as conversion
from worker.models.convert import convert, is_current
from worker.models.sources import resolve

Checkpoints = Callable[..., Path]


@pytest.fixture
def source(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """A checkpoint as the hub has them: a pickle, a SentencePiece model, notices."""
    original = checkpoints(size="tiny", tokenizer="sentencepiece", weights="pickle")
    directory = Path(shutil.copytree(original, tmp_path / "source"))
    (directory / "README.md").write_text("license: creativeml-openrail-m")
    (directory / "LICENSE.txt").write_text("use restrictions")
    return directory


def everything(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_pickle_becomes_a_directory_that_serves_the_same_numbers(
    source: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=f"altclip-server convert {source} DIRECTORY"):
        resolve(f"m={source}")
    converted = convert(str(source), tmp_path / "converted")
    twin = checkpoints(size="tiny", tokenizer="json")
    texts = ["a photo of a cat", "", "一张猫的照片"]
    rows = []
    for directory in (converted, twin):
        spec = resolve(f"m={directory}")
        ids = [tokens.ids for tokens in family("altclip").tokenizer(spec).encode(texts)]
        rows.append(family("altclip").load(spec, "cpu", "float32", 1).text(ids)())
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)


def test_the_file_is_plain_safetensors_with_the_original_values(source: Path, tmp_path: Path) -> None:
    written = load_file(convert(str(source), tmp_path / "converted") / "model.safetensors")
    original = torch.load(source / "pytorch_model.bin", weights_only=True)
    assert len(written) == len(original)
    for name, tensor in original.items():
        assert torch.equal(written[name], tensor), name


def test_the_manifest_has_the_digest_of_every_file_and_where_it_came_from(
    source: Path, tmp_path: Path
) -> None:
    converted = convert(str(source), tmp_path / "converted")
    files = everything(converted)
    manifest = json.loads(files.pop("manifest.json"))
    assert {entry["name"] for entry in manifest["files"]} == set(files)
    for entry in manifest["files"]:
        assert entry["sha256"] == hashlib.sha256(files[entry["name"]]).hexdigest()
        assert entry["bytes"] == len(files[entry["name"]])
    assert manifest["source"] == "source"
    assert manifest["converter"].startswith("altclip ")


def test_notices_and_licence_come_along(source: Path, tmp_path: Path) -> None:
    files = everything(convert(str(source), tmp_path / "converted"))
    assert {"README.md", "LICENSE.txt", "tokenizer.json", "config.json", "preprocessor_config.json"} <= set(
        files
    )
    assert "pytorch_model.bin" not in files


def test_serving_takes_the_digest_from_the_manifest_while_it_fits_the_file(
    source: Path, tmp_path: Path
) -> None:
    converted = convert(str(source), tmp_path / "converted")
    manifest = json.loads((converted / "manifest.json").read_text())
    entry = next(entry for entry in manifest["files"] if entry["name"] == "model.safetensors")
    true = entry["sha256"]
    entry["sha256"] = "a" * 64
    (converted / "manifest.json").write_text(json.dumps(manifest))
    assert weights_sha256(resolve(f"m={converted}")) == "a" * 64
    entry["bytes"] += 1
    (converted / "manifest.json").write_text(json.dumps(manifest))
    assert weights_sha256(resolve(f"m={converted}")) == true


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_can_be_written_at_half_the_size(source: Path, tmp_path: Path, dtype: str) -> None:
    full = convert(str(source), tmp_path / "full")
    half = convert(str(source), tmp_path / "half", dtype=dtype)
    written = load_file(half / "model.safetensors")
    assert written.pop("logit_scale").dtype == torch.float32
    assert {str(t.dtype) for t in written.values()} == {f"torch.{dtype}"}
    sizes = [(directory / "model.safetensors").stat().st_size for directory in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    family("altclip").load(resolve(f"m={half}"), "cpu", "auto", 1)


def test_shards_become_one_file(checkpoints: Checkpoints, tmp_path: Path) -> None:
    converted = convert(str(checkpoints(size="tiny", weights="sharded")), tmp_path / "converted")
    assert [path.name for path in converted.glob("*.safetensors*")] == ["model.safetensors"]
    family("altclip").load(resolve(f"m={converted}"), "cpu", "auto", 1)


def test_a_finished_conversion_may_be_replaced_and_nothing_is_left_beside_it(
    source: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    convert(str(source), work / "converted")
    first = everything(work / "converted")
    convert(str(source), work / "converted")
    assert everything(work / "converted") == first
    assert [path.name for path in work.iterdir()] == ["converted"]


def test_a_directory_with_anything_else_in_it_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="not empty"):
        convert(str(source), tmp_path / "mine")
    assert everything(tmp_path / "mine") == {"thesis.txt": b"years of work"}
    with pytest.raises(ModelError, match="not empty"):
        convert(str(source), source)


@pytest.mark.parametrize(
    "content",
    [
        '{"version": 1, "state": "done", "parts": [{"name": "part-00000.parquet"}]}',  # a bulk job's
        '{"name": "an app", "converter": 3, "files": [{"name": "part-00000.parquet"}]}',
        '{"converter": "altclip 0.1.0", "files": "part-00000.parquet"}',
        '{"converter": "altclip 0.1.0", "files": []}',
        "[]",
        "no JSON",
    ],
)
def test_a_manifest_of_another_kind_saves_the_directory(source: Path, tmp_path: Path, content: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "part-00000.parquet").write_bytes(b"hours of work")
    (mine / "manifest.json").write_text(content)
    before = everything(mine)
    with pytest.raises(ModelError, match="not empty"):
        convert(str(source), mine)
    assert everything(mine) == before
    (mine / "part-00000.parquet").unlink()
    if "altclip" not in content:
        with pytest.raises(ModelError, match=r"holds manifest\.json"):
            convert(str(source), mine)


def test_what_was_added_to_a_conversion_is_named_and_kept(source: Path, tmp_path: Path) -> None:
    converted = convert(str(source), tmp_path / "converted")
    (converted / "notes").mkdir()
    (converted / "notes" / "measured.txt").write_text("days of work")
    with pytest.raises(ModelError, match="holds notes"):
        convert(str(source), converted)
    assert (converted / "notes" / "measured.txt").read_text() == "days of work"


def test_a_full_disk_leaves_the_earlier_conversion_as_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    convert(str(source), work / "converted")
    before = everything(work / "converted")

    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(conversion, "_sync", full)
    with pytest.raises(ModelError, match="No space left"):
        convert(str(source), work / "converted")
    with pytest.raises(ModelError, match="No space left"):
        convert(str(source), work / "another")
    assert everything(work / "converted") == before
    assert [path.name for path in work.iterdir()] == ["converted"]


def test_a_disk_that_is_full_at_the_tokenizer_is_told_like_any_other(source: Path, tmp_path: Path) -> None:
    command = "import sys; from service import cli; sys.exit(cli.main())"
    ended = subprocess.run(
        [sys.executable, "-c", command, "convert", str(source), str(tmp_path / "converted")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == f"altclip-server: {tmp_path / 'converted'} could not be written: File too large\n"
    assert ended.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_mount_point_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "download", lambda *_, **__: pytest.fail("it was fetched"))
    with pytest.raises(ModelError, match="/proc is a mount point"):
        convert("BAAI/AltCLIP", "/proc")


def test_a_link_to_a_directory_stays_and_leads_to_the_conversion(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "model")
    for _ in range(2):
        assert convert(str(source), tmp_path / "link") == tmp_path / "disk" / "model"
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "link" / "manifest.json").is_file()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["model"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pwned",))


def test_a_pickle_that_would_run_code_does_not(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, source / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read"):
        convert(str(source), tmp_path / "converted")
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(ModelError, match="cannot be read"):
        convert(str(source), tmp_path / "converted")
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "converted").exists()


def test_a_checkpoint_that_lacks_a_weight_is_not_converted(source: Path, tmp_path: Path) -> None:
    tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
    del tensors["visual_projection.weight"]
    torch.save(tensors, source / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"1 missing: visual_projection\.weight"):
        convert(str(source), tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_model_on_the_hub_is_fetched_with_its_pickle_and_remembers_its_commit(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = source.rename(tmp_path / "c0ffee")
    patterns: list[str] = []

    def snapshot_download(name: str, *, allow_patterns: list[str], **_: Any) -> str:
        patterns.extend(allow_patterns)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    converted = convert("BAAI/AltCLIP", tmp_path / "converted")
    assert "pytorch_model*.bin" in patterns
    manifest = json.loads((converted / "manifest.json").read_text())
    assert (manifest["source"], manifest["revision"]) == ("BAAI/AltCLIP", "c0ffee")
    spec = resolve(f"m={converted}")
    assert (spec.revision, spec.languages) == ("c0ffee", ("en", "zh"))


def test_what_was_made_of_a_pinned_model_is_current_until_anything_differs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(source))
    pinned = "BAAI/AltCLIP@" + "a" * 40
    assert not is_current(pinned, tmp_path / "converted")
    converted = convert(pinned, tmp_path / "converted")
    assert is_current(pinned, converted)
    assert not is_current("BAAI/AltCLIP@" + "b" * 40, converted)
    convert("BAAI/AltCLIP", tmp_path / "unpinned")
    assert not is_current("BAAI/AltCLIP", tmp_path / "unpinned"), "what main is may have changed"
    weights = converted / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert not is_current(pinned, converted), "a worker would refuse it"
    weights.write_bytes(content + b"!")
    assert not is_current(pinned, converted)


@pytest.mark.parametrize("removed", ["config.json", "pytorch_model.bin", "sentencepiece.bpe.model"])
def test_a_source_that_lacks_a_file_is_refused(source: Path, tmp_path: Path, removed: str) -> None:
    (source / removed).unlink()
    with pytest.raises(ModelError):
        convert(str(source), tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_pickle_in_shards_becomes_one_file(source: Path, tmp_path: Path) -> None:
    tensors = list(torch.load(source / "pytorch_model.bin", weights_only=True).items())
    (source / "pytorch_model.bin").unlink()
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for name, part in zip(names, (tensors[::2], tensors[1::2]), strict=True):
        torch.save(dict(part), source / name)
    index = {"weight_map": {key: names[number % 2] for number, (key, _) in enumerate(tensors)}}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    written = load_file(convert(str(source), tmp_path / "converted") / "model.safetensors")
    assert set(written) == {key for key, _ in tensors}
    (source / names[1]).unlink()
    with pytest.raises(ModelError, match=f"lacks {names[1]}"):
        convert(str(source), tmp_path / "another")
