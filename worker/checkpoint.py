"""Loads weights from safetensors into a module, all or none, and tells their checksum. No torch at import.

Files are mapped, not read: on a CPU in the files' own dtype, the module's parameters are the page cache,
shared by all workers of a host.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import ModelError
from worker.spec import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = [
    "FLOATING",
    "INDEX",
    "MANIFEST",
    "SINGLE",
    "check_names",
    "has_no_effect",
    "indexed",
    "is_weight",
    "load",
    "lone_files",
    "mapped",
    "sha256_of",
    "weight_files",
    "weights_sha256",
]

INDEX = "model.safetensors.index.json"
MANIFEST = "manifest.json"
SINGLE = "model.safetensors"
# Buffers that older checkpoints carry and that are computed, not learnt.
NOT_WEIGHTS = re.compile(r"\.(position_ids|token_type_ids)$")
# What the authors' own class saves beside the model: the pooler of the text tower, whose output is not used,
# and a head for another task.
WITHOUT_EFFECT = re.compile(r"(^|\.)roberta\.pooler\.dense\.(weight|bias)$|(^|\.)lm_head\.")
FLOATING = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
NAMED_IN_ERRORS = 6

log = logging.getLogger(__name__)


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model, sorted; raises `ModelError` for none, or a shard that is missing.

    They are those that transformers would load: model.safetensors, or else what the index names. A lone file
    of another name is taken where there is neither.
    """
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if (directory / INDEX).is_file():
        return indexed(directory / INDEX)
    files = lone_files(directory)
    if len(files) != 1:
        found = f"{len(files)} safetensors files and no {INDEX}" if files else "no safetensors file"
        raise ModelError(f"{directory} has {found}")
    return files


def indexed(index: Path) -> list[Path]:
    """The files that an index of weight files names, sorted, from its own directory; raises `ModelError`."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = sorted(index.parent / Path(name).name for name in names)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{index} is not an index of weight files") from error
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelError(f"{index.parent} lacks {_some(missing)}, which {index.name} names")
    return files


def lone_files(directory: Path) -> list[Path]:
    """The safetensors files that may be a whole model: hidden ones and adapters are not."""
    found = sorted(directory.glob("*.safetensors"))
    return [file for file in found if not file.name.startswith((".", "adapter_")) and file.is_file()]


def load(module: torch.nn.Module, directory: Path, device: str, dtype: torch.dtype) -> None:
    """Give a module that was built on the meta device the weights in `directory`.

    Raises `ModelError` that names keys when any is missing, left over, of the wrong shape or not floating
    point.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    tensors: dict[str, torch.Tensor] = {}
    for path in weight_files(directory):
        tensors.update(mapped(path))
    names = check_names({key: tuple(t.shape) for key, t in tensors.items()}, expected, str(directory))
    weights = {name: _as_computed(tensors.pop(key), device, dtype) for key, name in names.items()}
    module.load_state_dict(weights, strict=True, assign=True)


def _as_computed(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    """In the dtype of the layers; a single number, such as the logit scale, in float32."""
    import torch

    # Copied, since as a view it would keep the whole file mapped.
    return tensor.to(device, dtype) if tensor.ndim else tensor.to(device, torch.float32, copy=True)


def mapped(path: Path) -> dict[str, torch.Tensor]:
    """The weights of one safetensors file, all as views of one mapping of it; raises `ModelError`.

    The library checks the file, but gives each tensor a storage of its own; in one, neighbours can be joined.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu"):
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        data = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    tensors = {}
    header.pop("__metadata__", None)
    if without := sorted(filter(has_no_effect, header)):
        log.info("%s holds weights that change no answer; they are left out: %s", path, ", ".join(without))
    for key, entry in header.items():
        if not is_weight(key) or has_no_effect(key):
            continue
        if entry["dtype"] not in FLOATING:
            raise ModelError(f"{path}: {key} is {entry['dtype']}; weights are {', '.join(FLOATING)}")
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        kind, part = getattr(torch, FLOATING[entry["dtype"]]), data[begin:end]
        part = part.clone() if begin % kind.itemsize else part
        tensors[key] = part.view(kind).view(entry["shape"])
    return tensors


def is_weight(key: str) -> bool:
    """False for the buffers that older checkpoints carry along."""
    return NOT_WEIGHTS.search(key) is None


def has_no_effect(key: str) -> bool:
    """Whether a weight cannot change any answer."""
    return WITHOUT_EFFECT.search(key) is not None


def check_names(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, str]:
    """Key in the files → name in the module; raises `ModelError` naming what does not fit.

    transformers renamed `encoder.layer.` to `encoder.layers.` over time: either is either.
    """
    by_alias = {_alias(name): name for name in expected}
    names = {key: by_alias[_alias(key)] for key in found if _alias(key) in by_alias}
    twice = (
        sorted(key for key in names if list(names.values()).count(names[key]) > 1) if _twice(names) else []
    )
    wrong = sorted(key for key, name in names.items() if found[key] != expected[name])
    problems = {
        "missing": sorted(set(expected) - set(names.values())),
        "unexpected": sorted(set(found) - set(names)),
        "present twice": twice,
        "of the wrong shape": [f"{k} {list(found[k])} instead of {list(expected[names[k]])}" for k in wrong],
    }
    if any(problems.values()):
        said = "; ".join(f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys)
        raise ModelError(f"the weights in {where} do not fit the configuration: {said}")
    return names


def weights_sha256(spec: ModelSpec, *, read: bool = True) -> str:
    """SHA-256 (hex) of the weights: as the conversion's manifest says, or else of the file, read now.

    Of several files it is the digest of their digests. A model without files is told by its source. Without
    `read` it is "" where only the files of weights, which may be large, could tell.
    """
    if not spec.directory:
        return hashlib.sha256(spec.source.encode()).hexdigest()
    directory = Path(spec.directory)
    files = weight_files(directory)
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        listed = {entry["name"]: entry for entry in manifest["files"]}
        if all(listed[file.name]["bytes"] == file.stat().st_size for file in files):
            return _joined(listed[file.name]["sha256"] for file in files)
    except (OSError, KeyError, TypeError, ValueError):
        pass  # no manifest, or one of other files
    return _joined(sha256_of(file) for file in files) if read else ""


def check_digests(spec: ModelSpec) -> None:
    """Raises `ModelError` that names the files of weights that are not what the conversion's manifest says.
    Reads them whole. Another conversion that comes in their place meanwhile is none of its business."""
    if not spec.directory:
        return
    directory = Path(spec.directory)
    listed = _digests(directory)
    if not listed:
        return  # nobody said what they should be
    try:
        damaged = [file.name for file in weight_files(directory) if listed.get(file.name) != sha256_of(file)]
    except (OSError, ModelError):
        return  # they were taken away
    if damaged and _digests(directory) == listed:
        told = f"{', '.join(damaged)} is not what the manifest beside it says; convert it anew"
        raise ModelError(f"{spec.source}: {told}")


def _digests(directory: Path) -> Mapping[str, str]:
    """The digest of each file as the conversion's manifest says; empty where there is none."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(digests: Iterable[str]) -> str:
    each = list(digests)
    return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()


def _alias(name: str) -> str:
    return name.replace("encoder.layer.", "encoder.layers.")


def _twice(names: Mapping[str, str]) -> bool:
    return len(set(names.values())) < len(names)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_IN_ERRORS
    return ", ".join(names[:NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")
