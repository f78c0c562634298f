"""Checkpoints as they are found: what changes no answer is no obstacle; what would is refused by name."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from worker import checkpoint
from worker.errors import ModelError
from worker.families import family
from worker.models.convert import convert
from worker.models.sources import resolve

Checkpoints = Callable[..., Path]
TEXTS = ["a photo of a cat", "", "一张猫的照片"]


@pytest.fixture
def plain(checkpoints: Checkpoints) -> Path:
    return checkpoints(size="tiny")


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """A copy of `plain` that may be changed."""
    return Path(shutil.copytree(plain, tmp_path / "model"))


@pytest.fixture
def pickled(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """The same model as a pickle, to be changed."""
    return Path(shutil.copytree(checkpoints(size="tiny", weights="pickle"), tmp_path / "pickled"))


def texts(directory: Path, dtype: str = "float32") -> np.ndarray[Any, Any]:
    spec = resolve(f"m={directory}")
    ids = [tokens.ids for tokens in family("altclip").tokenizer(spec).encode(TEXTS)]
    return family("altclip").load(spec, "cpu", dtype, 1).text(ids)()


def assert_same(rows: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Up to rounding: where in memory a file's weights come to lie decides in which order a product sums."""
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)


def change(directory: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Rewrites the weights, whichever file holds them."""
    safe, pickle = directory / "model.safetensors", directory / "pytorch_model.bin"
    if safe.is_file():
        tensors = {name: tensor.clone() for name, tensor in load_file(safe).items()}
        edit(tensors)
        save_file(tensors, safe)
    else:
        tensors = torch.load(pickle, weights_only=True)
        edit(tensors)
        torch.save(tensors, pickle)


def add(keys: Mapping[str, torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update(keys)


WITHOUT_EFFECT = {
    "text_model.roberta.pooler.dense.weight": torch.ones(8, 8),
    "text_model.roberta.pooler.dense.bias": torch.ones(8),
    "lm_head.bias": torch.ones(3),
    "text_model.lm_head.dense.weight": torch.ones(3, 3),
}


def test_weights_that_change_no_answer_are_left_out_and_listed_once(
    plain: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(model, add(WITHOUT_EFFECT))
    with caplog.at_level(logging.INFO, logger="worker"):
        assert_same(texts(model), texts(plain))
    (message,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert all(key in message for key in WITHOUT_EFFECT)


def test_a_conversion_leaves_them_out_and_its_manifest_lists_them(
    plain: Path, pickled: Path, tmp_path: Path
) -> None:
    change(pickled, add(WITHOUT_EFFECT))
    converted = convert(str(pickled), tmp_path / "converted")
    assert_same(texts(converted), texts(plain))
    manifest = json.loads((converted / "manifest.json").read_text())
    assert manifest["left_out"] == sorted(WITHOUT_EFFECT)


UNEXPECTED = [
    "text_model.roberta.pooler.other.weight",
    "vision_model.pooler.dense.weight",
    "text_model.roberta.encoder.layer.99.attention.self.query.weight",
    "lm_header.weight",
]


@pytest.mark.parametrize("key", UNEXPECTED)
def test_every_other_weight_is_still_refused_by_name(model: Path, key: str) -> None:
    change(model, add({key: torch.ones(2)}))
    with pytest.raises(ModelError, match=key):
        texts(model)


def retokenised(model: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = model / "tokenizer.json"
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def test_a_tokenizer_without_a_post_processor_gets_the_frame_of_special_tokens(
    plain: Path, model: Path, tmp_path: Path
) -> None:
    retokenised(model, lambda values: values.update(post_processor=None))
    assert_same(texts(model), texts(plain))
    converted = convert(str(model), tmp_path / "converted")
    assert json.loads((converted / "tokenizer.json").read_text())["post_processor"] is not None
    (empty,) = family("altclip").tokenizer(resolve(f"m={converted}")).encode([""])
    assert empty.ids.tolist() == [0, 2]


def only_the_end(values: dict[str, Any]) -> None:
    values["post_processor"]["single"] = values["post_processor"]["single"][1:]


def the_wrong_way_round(values: dict[str, Any]) -> None:
    values["post_processor"]["single"].reverse()


def without_the_text(values: dict[str, Any]) -> None:
    del values["post_processor"]["single"][1]


def another_pad(values: dict[str, Any]) -> None:
    vocabulary = values["model"]["vocab"]
    vocabulary[1], vocabulary[3] = vocabulary[3], vocabulary[1]
    names = {"<pad>": 3, "<unk>": 1}
    for token in values["added_tokens"]:
        token["id"] = names.get(token["content"], token["id"])


WRONG_TOKENIZERS = {
    "only the end token": (only_the_end, "post-processor"),
    "the special tokens the wrong way round": (the_wrong_way_round, "post-processor"),
    "the special tokens without the text": (without_the_text, "post-processor"),
    "another padding token": (another_pad, "<pad>"),
}


@pytest.mark.parametrize("name", WRONG_TOKENIZERS)
@pytest.mark.parametrize("doing", ["serve", "convert"])
def test_a_tokenizer_that_would_give_wrong_vectors_is_refused(
    name: str, doing: str, model: Path, tmp_path: Path
) -> None:
    edit, said = WRONG_TOKENIZERS[name]
    retokenised(model, edit)
    with pytest.raises(ModelError, match=said):
        texts(model) if doing == "serve" else convert(str(model), tmp_path / "converted")


def test_the_single_file_is_chosen_before_an_index_as_transformers_does(
    plain: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    older = checkpoints(size="tiny", weights="sharded", seed=1)
    both = Path(shutil.copytree(older, tmp_path / "both"))
    shutil.copy(plain / "model.safetensors", both / "model.safetensors")
    assert_same(texts(both), texts(plain))
    assert_same(texts(convert(str(both), tmp_path / "converted")), texts(plain))
    assert [path.name for path in checkpoint.weight_files(both)] == ["model.safetensors"]


def test_the_single_pickle_is_chosen_before_an_index_too(pickled: Path, plain: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"logit_scale": "pytorch_model-00001-of-00001.bin"}}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    torch.save({"logit_scale": torch.tensor(1.0)}, pickled / "pytorch_model-00001-of-00001.bin")
    assert_same(texts(convert(str(pickled), tmp_path / "converted")), texts(plain))


NO_WEIGHTS = ["._model.safetensors", ".cache.safetensors", "adapter_model.safetensors"]


@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_hidden_files_and_adapters_are_no_weights(
    name: str, pickled: Path, plain: Path, tmp_path: Path
) -> None:
    save_file({"base.lora_A.weight": torch.ones(2, 2)}, pickled / name)
    assert_same(texts(convert(str(pickled), tmp_path / "converted")), texts(plain))
    with pytest.raises(ModelError, match="only a pickle"):
        resolve(f"m={pickled}")


@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_they_stand_beside_a_lone_file_of_another_name(name: str, model: Path, plain: Path) -> None:
    (model / "model.safetensors").rename(model / "altclip.safetensors")
    (model / name).write_bytes(b"no safetensors at all")
    assert_same(texts(model), texts(plain))


def test_a_folder_named_as_weights_is_none(model: Path, plain: Path) -> None:
    (model / "model.safetensors").rename(model / "altclip.safetensors")
    (model / "old.safetensors").mkdir()
    assert_same(texts(model), texts(plain))


def as_dtype(dtype: torch.dtype) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({key: tensor.to(dtype) for key, tensor in tensors.items()})


@pytest.mark.parametrize("kind", ["pickled", "model"])
def test_double_precision_is_written_as_single(
    kind: str, plain: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(kind)
    change(source, as_dtype(torch.float64))
    converted = convert(str(source), tmp_path / "converted")
    assert {t.dtype for t in load_file(converted / "model.safetensors").values()} == {torch.float32}
    np.testing.assert_allclose(texts(converted), texts(plain), rtol=1e-6)


KEY = "text_projection.weight"


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_one_line_with_their_name(
    dtype: torch.dtype, pickled: Path, tmp_path: Path
) -> None:
    change(pickled, lambda tensors: tensors.update({KEY: tensors[KEY].to(dtype)}))
    with pytest.raises(ModelError, match=KEY) as refused:
        convert(str(pickled), tmp_path / "converted")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize("doing", ["serve", "convert"])
def test_safetensors_in_eight_bits_are_refused_by_name(doing: str, model: Path, tmp_path: Path) -> None:
    change(model, lambda tensors: tensors.update({KEY: tensors[KEY].to(torch.float8_e4m3fn)}))
    with pytest.raises(ModelError, match=f"{KEY} is F8_E4M3; weights are F64, F32, F16, BF16"):
        texts(model) if doing == "serve" else convert(str(model), tmp_path / "converted")


@pytest.fixture(scope="module")
def scaled(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the logit scale of CLIP's, which half precision does not have."""
    directory = Path(shutil.copytree(checkpoints(size="tiny"), tmp_path_factory.mktemp("s") / "scaled"))
    change(directory, lambda tensors: tensors.update(logit_scale=torch.tensor(4.6052)))
    return directory


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_logit_scale_is_the_same_in_every_dtype(dtype: str, scaled: Path, tmp_path: Path) -> None:
    right = pytest.approx(math.exp(4.6052), abs=1e-3)
    spec = resolve(f"m={scaled}")
    assert family("altclip").load(spec, "cpu", dtype, 1).info.logit_scale == right
    converted = convert(str(scaled), tmp_path / "converted", dtype=dtype)
    assert family("altclip").load(resolve(f"m={converted}"), "cpu", dtype, 1).info.logit_scale == right


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 200.0])
def test_a_logit_scale_that_multiplies_by_no_number_is_refused(value: float, model: Path) -> None:
    change(model, lambda tensors: tensors.update(logit_scale=torch.tensor(value)))
    with pytest.raises(ModelError, match="logit scale"):
        texts(model)


def warm_up(directory: Path, dtype: str = "float32") -> None:
    family("altclip").load(resolve(f"m={directory}"), "cpu", dtype, 1).warm_up()


@pytest.mark.parametrize(
    ("key", "what"), [("text_projection.weight", "texts"), ("visual_projection.weight", "images")]
)
def test_a_model_whose_vectors_are_not_finite_never_becomes_ready(key: str, what: str, model: Path) -> None:
    change(model, lambda tensors: tensors[key].view(-1)[0].fill_(math.nan))
    with pytest.raises(ModelError, match=f"the vectors of {what} are not finite in float32"):
        warm_up(model)


def test_a_model_with_numbers_that_half_precision_does_not_have_is_served_in_others(model: Path) -> None:
    change(model, lambda tensors: tensors[KEY].mul_(1e6))
    with pytest.raises(ModelError, match=r"texts are not finite in float16.* too large for float16"):
        warm_up(model, "float16")
    warm_up(model, "bfloat16")


@pytest.mark.parametrize("kind", ["pickled", "model"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_finite_number_is_not_converted(
    kind: str, value: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(kind)
    change(source, lambda tensors: tensors[KEY].view(-1)[3].fill_(value))
    with pytest.raises(ModelError, match=f"{KEY} holds numbers that are not finite"):
        convert(str(source), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_a_weight_that_half_precision_does_not_have_is_not_written_as_infinity(
    model: Path, tmp_path: Path
) -> None:
    change(model, lambda tensors: tensors[KEY].mul_(1e6))
    with pytest.raises(ModelError, match=f"{KEY} holds numbers that float16 does not have"):
        convert(str(model), tmp_path / "converted", dtype="float16")
    convert(str(model), tmp_path / "converted", dtype="bfloat16")
