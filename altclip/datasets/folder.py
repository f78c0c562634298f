"""Reads a folder: a webdataset's split, the same unpacked, or one folder a class.

ROOT/classnames.txt  zeroshot_classification_templates.txt  dataset_type.txt
ROOT/test/0.tar …                       as `shards.py` reads them
ROOT/test/s0000000.jpg  s0000000.txt …  the same files, loose; in folders as deep as you like
ROOT/test/n01440764/x.JPEG …            a class a folder, in the order of the folders' names
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from altclip.datasets.dataset import Dataset, Request
from altclip.datasets.items import PICTURE_SUFFIXES, DataError, Picture, is_hidden
from altclip.datasets.samples import CLASS_NAMES, LANGUAGE, Sample, make_dataset
from altclip.datasets.shards import find_shards, read_shards


def read_folder(request: Request) -> Dataset:
    """The folder's split as a data set. Raises DataError."""
    root = request.path
    split = root / request.split
    if not split.is_dir():
        if find_shards(root):
            split = root  # the shards alone, without a split
        else:
            raise DataError(f"{split}: no such folder (--split names another)")
    shards = find_shards(split)
    if shards:
        return make_dataset(root, request, read_shards(shards))
    files = sorted(path for path in split.rglob("*") if path.is_file() and not _is_hidden(path, split))
    if any(path.suffix in {".txt", ".cls", ".npy"} for path in files):
        return make_dataset(root, request, _loose(split, files))
    found = [path for path in split.iterdir() if path.is_dir() and not _is_hidden(path, split)]
    folders = sorted(path.name for path in found)
    if not (root / CLASS_NAMES).exists() and not request.classnames:
        # A file of names counts every folder; without one, a folder without pictures is no class.
        folders = [name for name in folders if any(_is_picture_below(split / name, path) for path in files)]
    return make_dataset(root, request, _by_folder(split, files, folders), names=folders)


def _is_hidden(path: Path, split: Path) -> bool:
    return is_hidden(path.relative_to(split).as_posix())


def _is_picture_below(folder: Path, path: Path) -> bool:
    return path.suffix.lower().lstrip(".") in PICTURE_SUFFIXES and path.is_relative_to(folder)


def _loose(split: Path, files: list[Path]) -> Iterator[Sample]:
    samples: dict[str, Sample] = {}
    for path in files:
        key, suffix = _split(path.relative_to(split))
        kind = suffix.rpartition(".")[2]
        if kind not in PICTURE_SUFFIXES | {"txt", "cls", "npy"}:
            continue
        sample = samples.setdefault(key, Sample(key, str(split / key)))
        if kind in PICTURE_SUFFIXES:
            sample.add_picture(_picture(split, path))
        else:
            try:
                sample.add(suffix, path.read_bytes(), str(path))
            except OSError as error:
                raise DataError(f"{path}: {error.strerror}") from None
    yield from samples.values()


def _split(path: Path) -> tuple[str, str]:
    """Key and suffix of a loose file, whose key may hold dots: `a/x.1.zh.txt` is (`a/x.1`, `zh.txt`)."""
    key, suffix = path.with_suffix(""), path.suffix.lower().lstrip(".")
    language = key.suffix.lstrip(".")
    if suffix == "txt" and LANGUAGE.fullmatch(language):
        return key.with_suffix("").as_posix(), f"{language}.{suffix}"
    return key.as_posix(), suffix


def _by_folder(split: Path, files: list[Path], folders: list[str]) -> Iterator[Sample]:
    labels = {folder: index for index, folder in enumerate(folders)}
    for path in files:
        folder = path.relative_to(split).parts[0]
        if path.suffix.lower().lstrip(".") in PICTURE_SUFFIXES and folder in labels:
            sample = Sample(path.relative_to(split).as_posix(), str(path))
            sample.picture, sample.label = _picture(split, path), labels[folder]
            yield sample


def _picture(split: Path, path: Path) -> Picture:
    return Picture(path.relative_to(split).as_posix(), str(path), path)
