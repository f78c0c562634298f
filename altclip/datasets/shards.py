"""Reads a webdataset in the layout of LAION's CLIP_benchmark: the tar files of one split.

    test/nshards.txt    how many there are
    test/0.tar          s0000000.webp  s0000000.txt (captions, one a line) or s0000000.cls (a class's index)
    test/1.tar          …

The part of a member's name before the first dot of its last component names the sample; its members stand one
after another. One extension of ours: `KEY.zh.txt` holds the captions in zh, beside or instead of `KEY.txt`.

Only names, captions and labels are read here; of a picture the place in the file is kept, so that any picture
can be read later without what stands before it.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from altclip.datasets.items import PICTURE_SUFFIXES, DataError, Picture, is_hidden
from altclip.datasets.samples import Sample
from altclip.datasets.text import read_text

SMALL = 1 << 20
"""No captions or label are longer than this."""


def find_shards(folder: Path) -> list[Path]:
    """The split's tar files in order; none where it is no webdataset. Raises DataError when one is
    missing."""
    count_file = folder / "nshards.txt"
    if not count_file.exists():
        tars = [path for path in folder.glob("*.tar") if not is_hidden(path.name)]
        return sorted(tars, key=_numbers_by_value)
    text = read_text(count_file).strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise DataError(f"{count_file} line 1: not a number of shards: {text[:40]!r}")
    shards = [folder / f"{index}.tar" for index in range(int(text))]
    for shard in shards:
        if not shard.is_file():
            raise DataError(f"{shard}: no such file, but {count_file} says there are {text} shards")
    return shards


def read_shards(shards: list[Path]) -> Iterator[Sample]:
    """The samples of these tar files. Raises DataError that names the shard and the member."""
    for shard in shards:
        try:
            with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                yield from _read_shard(shard, archive)
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise DataError(f"{shard}: ends without the mark of an archive's end; it was cut short")
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{shard}: not a whole tar file without compression ({error})") from None
        except OSError as error:
            raise DataError(f"{shard}: {error.strerror or error}") from None


def _read_shard(shard: Path, archive: tarfile.TarFile) -> Iterator[Sample]:
    sample: Sample | None = None
    # Members are not kept, as `for member in archive` would: a shard may hold millions.
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed does not have it
        if not member.isreg() or is_hidden(member.name):
            continue
        key, suffix = split_name(member.name)
        where = f"{shard}: {member.name}"
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key, f"{shard}: {key}")
        kind = suffix.rpartition(".")[2]
        if kind in PICTURE_SUFFIXES:
            sample.add_picture(
                Picture(f"{shard.name}/{member.name}", where, shard, member.offset_data, member.size)
            )
        elif kind in {"txt", "cls", "npy"}:
            if member.size > SMALL:
                raise DataError(f"{where}: {member.size} bytes are too many for a caption or a label")
            content = archive.extractfile(member)
            sample.add(suffix, content.read() if content else b"", where)
    if sample is not None:
        yield sample


def split_name(name: str) -> tuple[str, str]:
    """A member's name as its sample's key and its suffix: `a/s1.zh.txt` is (`a/s1`, `zh.txt`)."""
    folder, slash, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    return f"{folder}{slash}{key}", suffix.lower()


def _numbers_by_value(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]
