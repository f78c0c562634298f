"""`altclip-server convert SOURCE DIRECTORY`: a checkpoint as published becomes one that is served.

    pytorch_model.bin or safetensors → model.safetensors     one file, keys checked against the configuration
    either tokenizer layout          → tokenizer.json, with <s> … </s> added where it has no post-processor
    configurations, licence, notices → copied
                                     → manifest.json         sha256 and size of every file, source, commit,
                                     version, and the weights that were left out

The pickle is opened with torch's restricted unpickler, mapped, and never again. The result appears whole or
not at all (workspace.py).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from altclip.version import VERSION
from worker import checkpoint
from worker.errors import ModelError
from worker.families import family
from worker.inputs.tokenizer import read_backend
from worker.models import workspace
from worker.models.hub import NOTICES, download, is_hub_name
from worker.models.sources import absolute, is_directory

if TYPE_CHECKING:
    import torch

__all__ = ["convert", "is_current", "save"]

# So that transformers never starts a thread that asks the hub for a conversion of its own.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

COPIED = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")
SAFETENSORS_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# What is one matrix when it is used, in its order there.
PARTS = ("query", "q_proj", "key", "k_proj", "value", "v_proj")
# Mapped tensors start on a cache line of their own.
ALIGNMENT = 64
_CONVERTER = f"altclip {VERSION}"
_CONVERTERS = "altclip "
"""How the converter of any version begins."""


def convert(source: str, directory: str | Path, *, dtype: str | None = None, keep: bool = False) -> Path:
    """Convert `source` (a directory, or OWNER/NAME[@REVISION]) into `directory`, which is returned.

    Raises `ModelError`, and `OSError` where nothing can be written beside `directory`. dtype: "float32",
    "float16" or "bfloat16"; None keeps each tensor's own. `directory` must be missing, empty, or an earlier
    conversion with nothing else in it, which is replaced; a mount point cannot be. keep: not where it
    `is_current`. Of several conversions into one directory each waits for the one before.
    """
    target = absolute(directory)  # a link stays, and what it leads to is replaced
    if dtype is not None and dtype not in SAFETENSORS_DTYPES:
        raise ModelError(f"dtype {dtype} is not one of {', '.join(SAFETENSORS_DTYPES)}")
    if keep and is_current(source, target):  # also where nothing can be written
        return target
    _check_target(target)
    if not is_directory(source) and not is_hub_name(source):
        raise ModelError(f"{source!r} is neither a directory nor a model on the hub (OWNER/NAME)")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Before anything is fetched: what killed conversions have left may fill the disk.
    with workspace.reserved(target):
        if not (keep and is_current(source, target)):
            _check_target(target)
            _convert(source, target, dtype)
    return target


def _convert(source: str, target: Path, dtype: str | None) -> None:
    if is_directory(source):
        origin, revision = absolute(source), ""
    else:
        origin, revision = download(source, pickles=True)
    with workspace.unfinished(target) as work:
        try:
            left_out = _write(origin, work, dtype)
            _write_manifest(work, source, revision, left_out)
            work.chmod(0o755)
            workspace.put_in_place(work, target)
        except OSError as error:
            raise ModelError(f"{target} could not be written: {error.strerror or error}") from error


def is_current(source: str, directory: str | Path) -> bool:
    """Whether `directory` holds what this version made of OWNER/NAME@REVISION, every file as it was written.

    Reads them whole: a worker refuses weights that rotted, and would do so for ever if they were kept. A
    source without a revision, and one in a directory, may have changed: never.
    """
    target = absolute(directory)
    if not is_hub_name(source) or "@" not in source or is_directory(source):
        return False
    try:
        manifest = _manifest(target)
        if (manifest["source"], manifest["converter"]) != (source, _CONVERTER):
            return False
        files = [(target / file["name"], file) for file in manifest["files"]]
        return all(path.stat().st_size == file["bytes"] for path, file in files) and all(
            checkpoint.sha256_of(path) == file["sha256"] for path, file in files
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ModelError(f"{target} exists and is no directory")
    if not target.is_dir():
        return
    if target.is_mount():  # its place cannot be taken, which would show when all is written
        raise ModelError(f"{target} is a mount point, which cannot be replaced; give a directory in it")
    own = _own_files(target)
    foreign = sorted(path.name for path in target.iterdir() if path.name not in own or not path.is_file())
    if foreign:
        told = f"{target} is not empty and no earlier conversion"
        raise ModelError(f"{told} (it holds {foreign[0]}); give another directory")


def _own_files(target: Path) -> set[str]:
    """The names of all that an earlier conversion put here; none where there is none.

    Other programs, and bulk jobs, too, call a file manifest.json.
    """
    try:
        manifest = _manifest(target)
        if manifest["converter"].startswith(_CONVERTERS):
            return {checkpoint.MANIFEST, *(file["name"] for file in manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return set()


def _manifest(target: Path) -> Any:
    return json.loads((target / checkpoint.MANIFEST).read_text(encoding="utf-8"))


def _write(origin: Path, work: Path, dtype: str | None) -> list[str]:
    """Everything but the manifest. Returns the names of the weights that were left out."""
    for name in COPIED:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, work / name)
    for pattern in NOTICES:
        for path in origin.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, work / path.name)
    # Its own `save` raises no OSError.
    (work / "tokenizer.json").write_text(read_backend(origin).to_str(pretty=True), encoding="utf-8")
    kind = family(_model_type(work))
    kind.tokenizer(kind.describe("converted", "", work, ""))  # raises where it would not be served
    tensors = dict(_tensors(origin))
    left_out = sorted(filter(checkpoint.has_no_effect, tensors))
    for key in left_out:
        del tensors[key]
    for key, tensor in tensors.items():
        if str(tensor.dtype).removeprefix("torch.") not in checkpoint.FLOATING.values():
            allowed = ", ".join(checkpoint.FLOATING.values())
            raise ModelError(f"{origin}: {key} is {str(tensor.dtype)[6:]}; weights are {allowed}")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    names = checkpoint.check_names(shapes, kind.shapes(work), str(origin))
    save({names[key]: tensors[key] for key in names}, work / "model.safetensors", dtype)
    return left_out


def _model_type(directory: Path) -> str:
    try:
        return str(json.loads((directory / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError("the source has no config.json that names a model_type") from error


def _tensors(origin: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight of the checkpoint, mapped; buffers that are no weights left out.

    From the files that transformers would load; only then from a lone safetensors file of another name.
    """
    import pickle

    import torch

    pickles = _pickles(origin)
    published = (origin / checkpoint.SINGLE).is_file() or (origin / checkpoint.INDEX).is_file()
    if published or not pickles:
        for path in checkpoint.weight_files(origin):
            yield from checkpoint.mapped(path).items()
        return
    try:
        for path in pickles:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            if not isinstance(loaded, dict) or not all(isinstance(t, torch.Tensor) for t in loaded.values()):
                raise ModelError(f"{path} is not a state dictionary of tensors")
            yield from ((key, tensor) for key, tensor in loaded.items() if checkpoint.is_weight(key))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"the weights in {origin} cannot be read: {str(error).splitlines()[0]}") from error


def _pickles(origin: Path) -> list[Path]:
    """The pickles of the checkpoint, as transformers chooses them; none where there are none."""
    path, index = origin / "pytorch_model.bin", origin / "pytorch_model.bin.index.json"
    if path.is_file():
        return [path]
    return checkpoint.indexed(index) if index.is_file() else []


def save(tensors: Mapping[str, torch.Tensor], path: Path, dtype: str | None) -> None:
    """A safetensors file with each layer's query, key and value side by side, so that they can be one matrix.

    dtype: None keeps each tensor's own, but for float64, which becomes float32. Single numbers, such as the
    logit scale, are float32 in any case. The library's own writer would sort by name. Raises `ModelError` for
    a weight that is not finite as it is written.
    """
    import torch

    def kind_of(tensor: torch.Tensor) -> torch.dtype:
        if not tensor.ndim or (tensor.dtype == torch.float64 and not dtype):
            return torch.float32
        return getattr(torch, dtype) if dtype else tensor.dtype

    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    # Wide dtypes first and the scalar last keep every tensor aligned.
    ordered = sorted(
        tensors, key=lambda name: (-tensors[name].itemsize, not tensors[name].ndim, _place(name))
    )
    for name in ordered:
        tensor = tensors[name]
        kind = kind_of(tensor)
        size = tensor.numel() * kind.itemsize
        code = SAFETENSORS_DTYPES[str(kind).removeprefix("torch.")]
        header[name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in ordered:
            tensor = _finite(name, tensors[name], kind_of(tensors[name]))
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        _sync(file)


def _finite(name: str, tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """The weight in that dtype. Raises `ModelError` where it is not finite there."""
    found = tensor.to(kind)
    if _is_finite(found):
        return found
    if _is_finite(tensor):
        raise ModelError(f"{name} holds numbers that {str(kind).removeprefix('torch.')} does not have")
    raise ModelError(f"{name} holds numbers that are not finite")


def _is_finite(tensor: torch.Tensor) -> bool:
    return all(math.isfinite(bound) for bound in tensor.aminmax())  # isfinite would take memory for each


def _place(name: str) -> tuple[str, str, int]:
    """Sort key that puts a layer's query, key and value weights one behind the other."""
    module, _, kind = name.rpartition(".")
    owner, _, part = module.rpartition(".")
    return (owner, kind, PARTS.index(part)) if part in PARTS else (module, kind, 0)


def _write_manifest(work: Path, source: str, revision: str, left_out: list[str]) -> None:
    files = [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": checkpoint.sha256_of(path)}
        for path in sorted(work.iterdir())
    ]
    local = not is_hub_name(source) or Path(source).is_dir()
    manifest = {
        # The path of a local source says nothing elsewhere, and may say too much.
        "source": Path(source).name if local else source,
        "revision": revision,
        "converter": _CONVERTER,
        "files": files,
        **({"left_out": left_out} if left_out else {}),
    }
    with (work / checkpoint.MANIFEST).open("wb") as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")
        _sync(file)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
