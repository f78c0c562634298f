"""Weights are loaded whole or not at all, without a second copy, and are known by their digest."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import make_checkpoint
from worker import checkpoint
from worker.errors import ModelError
from worker.families import family
from worker.families.altclip.encoder import AltClipEncoder
from worker.families.altclip.loading import empty_model
from worker.models.sources import resolve

Checkpoints = Callable[..., Path]
IDS = [np.array([0, 7, 8, 2], np.int32)]


@pytest.fixture
def directory(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """A checkpoint of one's own to break."""
    return Path(shutil.copytree(checkpoints(size="tiny"), tmp_path / "model"))


def edit(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(directory / "model.safetensors")
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def remove(tensors: dict[str, torch.Tensor], part: str) -> None:
    for name in [name for name in tensors if part in name]:
        del tensors[name]


def row(directory: Path, dtype: str = "float32") -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    encoder = family("altclip").load(resolve(f"m={directory}"), "cpu", dtype, 1)
    return encoder.text(IDS)()


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """Copies, so that the file may change."""
    module = empty_model(directory)
    checkpoint.load(module, directory, "cpu", torch.float32)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_model(
    found: tuple[dict[str, torch.Tensor], np.ndarray[tuple[int, ...], np.dtype[np.float32]]], directory: Path
) -> None:
    """The same weights, bit for bit.

    What they give is the same up to rounding: where in memory a file's weights come to lie decides which
    order a matrix product sums in.
    """
    expected, answer = found
    given = weights(directory)
    assert given.keys() == expected.keys()
    for name, tensor in given.items():
        assert torch.equal(tensor, expected[name]), name
    np.testing.assert_allclose(row(directory), answer, rtol=0, atol=1e-5)


def key(tensors: dict[str, torch.Tensor], part: str) -> str:
    return next(name for name in sorted(tensors) if part in name)


def test_a_missing_weight_is_named(directory: Path) -> None:
    edit(directory, lambda tensors: remove(tensors, "text_model.pre_LN.weight"))
    with pytest.raises(ModelError, match=r"1 missing: text_model\.pre_LN\.weight"):
        row(directory)


def test_an_unexpected_weight_is_named(directory: Path) -> None:
    edit(directory, lambda tensors: tensors.update({"text_model.pooler.weight": torch.ones(2)}))
    with pytest.raises(ModelError, match=r"1 unexpected: text_model\.pooler\.weight"):
        row(directory)


def test_a_weight_of_the_wrong_shape_is_named_with_both_shapes(directory: Path) -> None:
    edit(directory, lambda tensors: tensors.update({"text_projection.weight": torch.ones(24, 23)}))
    with pytest.raises(ModelError, match=r"text_projection\.weight \[24, 23\] instead of \[24, 24\]"):
        row(directory)


def test_many_missing_weights_are_counted_not_listed(directory: Path) -> None:
    edit(directory, lambda tensors: remove(tensors, "vision_model"))
    with pytest.raises(ModelError, match=r"\d+ missing: .* and \d+ more"):
        row(directory)


def test_a_weight_that_is_no_floating_point_is_refused(directory: Path) -> None:
    edit(directory, lambda tensors: tensors.update({"logit_scale": torch.tensor(3)}))
    with pytest.raises(ModelError, match="logit_scale is I64"):
        row(directory)


def test_buffers_of_older_checkpoints_are_let_pass(directory: Path) -> None:
    before = weights(directory), row(directory)
    buffers = {
        "text_model.roberta.embeddings.position_ids": torch.arange(514)[None],
        "text_model.roberta.embeddings.token_type_ids": torch.zeros(1, 514, dtype=torch.long),
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
    }
    edit(directory, lambda tensors: tensors.update(buffers))
    assert_same_model(before, directory)


@pytest.mark.parametrize(("old", "new"), [(".layer.", ".layers."), (".layers.", ".layer.")])
def test_either_spelling_of_the_layers_is_the_same(directory: Path, old: str, new: str) -> None:
    before = weights(directory), row(directory)

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace(f"encoder{old}", f"encoder{new}")] = tensors.pop(name)

    edit(directory, rename)
    assert_same_model(before, directory)


def test_both_spellings_at_once_are_refused(directory: Path) -> None:
    def double(tensors: dict[str, torch.Tensor]) -> None:
        name = key(tensors, "encoder.layer")
        other = name.replace("layers.", "layer.") if "layers." in name else name.replace("layer.", "layers.")
        tensors[other] = tensors[name].clone()

    edit(directory, double)
    with pytest.raises(ModelError, match="present twice"):
        row(directory)


def test_shards_load_as_one_file_does(checkpoints: Checkpoints) -> None:
    sharded = checkpoints(size="tiny", weights="sharded")
    assert len(checkpoint.weight_files(sharded)) > 1
    whole = checkpoints(size="tiny")
    assert_same_model((weights(whole), row(whole)), sharded)


def test_a_shard_that_is_missing_is_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(checkpoints(size="tiny", weights="sharded"), tmp_path / "model"))
    gone = checkpoint.weight_files(directory)[0]
    gone.unlink()
    with pytest.raises(ModelError, match=gone.name):
        resolve(f"m={directory}")


def test_an_index_cannot_point_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / checkpoint.INDEX).write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(ModelError, match="lacks passwd"):
        checkpoint.weight_files(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 200, -100])
def test_a_file_cut_short_is_refused(directory: Path, kept: int) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        row(directory)


def test_half_precision_files_run_in_full_precision(directory: Path) -> None:
    before = row(directory)

    def halve(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    edit(directory, halve)
    encoder = family("altclip").load(resolve(f"m={directory}"), "cpu", "auto", 1)
    assert encoder.info.dtype == "float32"
    assert encoder.info.weights_bytes == 4 * encoder.info.parameters
    after = encoder.text(IDS)()
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, before, atol=0.02)


def test_a_configuration_with_code_or_nonsense_in_it_runs_none(directory: Path) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    before = row(directory)
    config |= {
        "auto_map": {"AutoModel": "evil.Model"},
        "_attn_implementation": "evil/kernels",
        "torch_dtype": "x",
    }
    config["text_config"] |= {"_attn_implementation_internal": "evil/kernels", "hidden_dropout_prob": 0.9}
    path.write_text(json.dumps(config))
    np.testing.assert_allclose(row(directory), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("text_config", "hidden_size", "32"),
        ("vision_config", "patch_size", [8, 8]),
        ("text_config", "vocab_size", None),
    ],
)
def test_a_configuration_of_the_wrong_type_is_refused(
    directory: Path, part: str, name: str, value: object
) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config[part][name] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{part}.{name}"):
        resolve(f"m={directory}")


def test_the_digest_is_that_of_the_file(checkpoints: Checkpoints) -> None:
    directory = checkpoints(size="tiny")
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.weights_sha256(resolve(f"m={directory}")) == digest


def test_without_reading_the_weights_only_a_manifest_tells_their_digest(checkpoints: Checkpoints) -> None:
    bundled = resolve("m=bundled")
    assert checkpoint.weights_sha256(bundled, read=False) == checkpoint.weights_sha256(bundled)
    assert checkpoint.weights_sha256(resolve(f"m={checkpoints(size='tiny')}"), read=False) == ""


def test_the_digest_of_a_model_without_files_is_that_of_its_source() -> None:
    small, same, large = (
        checkpoint.weights_sha256(resolve(f"{name}=stub:dimension={width}"))
        for name, width in (("a", 8), ("b", 8), ("c", 16))
    )
    assert small == same != large


def test_of_shards_the_digest_depends_on_each(checkpoints: Checkpoints, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(checkpoints(size="tiny", weights="sharded"), tmp_path / "model"))
    before = checkpoint.weights_sha256(resolve(f"m={directory}"))
    last = checkpoint.weight_files(directory)[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"\x01")
    assert checkpoint.weights_sha256(resolve(f"m={directory}")) != before


def test_loaded_weights_are_the_files_own_pages(checkpoints: Checkpoints) -> None:
    """A worker of a large model must not hold it twice: what it holds is the mapping."""
    directory = checkpoints(size="small")
    script = """
import sys
from worker.families import family
from worker.models.sources import resolve
import torch, worker.families.altclip.loading
def resident(kind):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(kind))
before = resident("RssAnon")
encoder = family("altclip").load(resolve("m=" + sys.argv[1]), "cpu", "auto", 1)
print((resident("RssAnon") - before) * 1024, encoder.info.weights_bytes)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(directory)], check=True, capture_output=True, text=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    private, weights = map(int, run.stdout.split())
    assert private < weights * 0.6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_weight_is_held_twice(checkpoints: Checkpoints, dtype: str) -> None:
    """Nor after a cast, where query, key and value are joined."""
    spec = resolve(f"m={checkpoints(size='small')}")
    encoder = cast(AltClipEncoder, family("altclip").load(spec, "cpu", dtype, 1))
    held = {
        weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes() for weight in encoder.weights()
    }
    assert sum(held.values()) <= encoder.info.weights_bytes * 1.02
    assert encoder.joined_projections == (8 if dtype == "bfloat16" else 0)


def test_another_seed_is_another_model(tmp_path: Path, checkpoints: Checkpoints) -> None:
    other = make_checkpoint(tmp_path / "other", size="tiny", seed=1)
    assert not np.allclose(row(other), row(checkpoints(size="tiny")))


@pytest.mark.parametrize("languages", ["[]", '["tlh"]', '[["en"]]', '"en"'])
def test_languages_that_are_none_of_ours_are_refused(directory: Path, languages: str) -> None:
    config = json.loads((directory / "config.json").read_text())
    config["altclip_service"] = {"languages": json.loads(languages)}
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="languages must be some of"):
        resolve(f"m={directory}")
