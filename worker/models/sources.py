"""From what an operator writes after `--model` to a `ModelSpec`. No torch.

    NAME=SOURCE | SOURCE | NAME          SOURCE = bundled | DIRECTORY | OWNER/MODEL[@REVISION] | stub:OPTIONS

Serving takes safetensors only: a source that holds nothing but a pickle is refused, with the command that
converts it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from worker.checkpoint import INDEX, MANIFEST, lone_files, weight_files
from worker.errors import ModelChoiceError, ModelError
from worker.families import family
from worker.models.hub import KNOWN, download, is_hub_name, split_revision
from worker.spec import ModelSpec

__all__ = [
    "BUNDLED",
    "absolute",
    "bundled_directory",
    "is_directory",
    "model_names",
    "resolve",
    "resolve_all",
]

BUNDLED = "bundled"
# Names are metric labels, health service names and process titles.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


def bundled_directory() -> Path:
    """Where the bundled model's files are."""
    return Path(__file__).parents[1] / "bundled"


def resolve_all(texts: list[str] | tuple[str, ...]) -> list[ModelSpec]:
    """Each model's spec, the bundled one for none; raises `ModelError`, also for a name given twice."""
    model_names(texts)  # looked at first: what follows may download for an hour
    return [resolve(text) for text in texts or [BUNDLED]]


def model_names(texts: list[str] | tuple[str, ...]) -> list[str]:
    """What the models will be called, without a look at their files. Raises `ModelChoiceError` for a name
    given twice."""
    names = [_split(text)[0] for text in texts or [BUNDLED]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ModelChoiceError(f"two models are called {twice[0]}; name one of them with NAME=SOURCE")
    return names


def resolve(text: str) -> ModelSpec:
    """The model of one `--model`; fetches it when it is on the hub. Raises `ModelError`."""
    name, source = _split(text)
    if not NAME.fullmatch(name):
        raise ModelChoiceError(f"{name!r} is no name for a model: letters, digits and . _ / - only")
    if source == BUNDLED:
        return _describe(name, source, bundled_directory(), "")
    if source.partition(":")[0] == "stub":
        return family("stub").describe(name, source, Path(), "")
    if is_directory(source):
        return _describe(name, source, absolute(source), "")
    if is_hub_name(source):
        directory, commit = download(source)
        return _describe(name, source, directory, commit)
    raise ModelChoiceError(f"{source!r} is neither a directory nor a model on the hub (OWNER/NAME)")


def _split(text: str) -> tuple[str, str]:
    """Name and source. A lone word that is no directory is a name for the bundled model."""
    text = text.strip()
    name, equals, source = text.partition("=")
    if equals and ":" not in name:
        return name, source or BUNDLED
    if text.partition(":")[0] == "stub":
        return "stub", text
    if text in ("", BUNDLED):
        return BUNDLED, BUNDLED
    if is_directory(text):
        return absolute(text).name, text
    if is_hub_name(text):
        return split_revision(text)[0], text
    return (Path(text).name, text) if "/" in text else (text, BUNDLED)


def is_directory(path: str) -> bool:
    """Raises `ModelError` where that cannot be told: no permission, too long a name, the home of nobody."""
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{path}: {_reason(error)}") from error


def absolute(path: str | Path) -> Path:
    """Without `~` and links. Raises `ModelError` for the home of nobody, and for links in a circle."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{path}: {_reason(error)}") from error


def _describe(name: str, source: str, directory: Path, revision: str) -> ModelSpec:
    config = _config(directory)
    _check_weights(source, directory)
    manifest = _json(directory / MANIFEST)
    revision = revision or str(manifest.get("revision", ""))
    spec = family(str(config["model_type"])).describe(name, source, directory, revision)
    # A published model's configuration names no languages: they are known by where it came from.
    for origin in (source, str(manifest.get("source", ""))):
        known = KNOWN.get(split_revision(origin)[0])
        if known is not None and "altclip_service" not in config:
            return dataclasses.replace(spec, languages=known.languages)
    return spec


def _check_weights(source: str, directory: Path) -> None:
    safe = lone_files(directory) or (directory / INDEX).is_file()
    if not safe and any(directory.glob("pytorch_model*.bin")):
        found = "only a pickle, which can run code"
    elif not safe and is_hub_name(source) and not Path(source).is_dir():
        found = "no safetensors at that revision"
    else:
        weight_files(directory)
        return
    raise ModelError(
        f"{source} has {found}; convert it once and serve that: altclip-server convert {source} DIRECTORY"
    )


def _config(directory: Path) -> dict[str, object]:
    path = directory / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        values = None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {_reason(error)}") from error
    if not isinstance(values, dict) or "model_type" not in values:
        raise ModelError(f"{directory} has no config.json that names a model_type")
    return values


def _reason(error: Exception) -> str:
    """What the system says, without the path that it repeats."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _json(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
