"""A file that is open for reading bytes is an image, and is read from where it stands."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

import altclip
from altclip import Client
from tests.altclip.fake_service import FakeService


def sent(service: FakeService) -> list[bytes]:
    return [image.content for request in service.seen["EmbedImage"] for image in request.images]


def test_every_kind_of_open_file_is_read(client: Client, service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(b"on disk")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("image.bin", b"in an archive")
    with (
        (tmp_path / "image.bin").open("rb") as buffered,
        (tmp_path / "image.bin").open("rb", buffering=0) as raw,
        zipfile.ZipFile(tmp_path / "images.zip") as archive,
        archive.open("image.bin") as member,
        tempfile.SpooledTemporaryFile() as upload,
        tempfile.NamedTemporaryFile() as named,
    ):
        for file in (upload, named):
            file.write(b"uploaded")
            file.seek(0)
        client.embed_image([buffered, raw, member, upload, named, io.BytesIO(b"in memory")])
        assert not buffered.closed
    assert sent(service) == [b"on disk"] * 2 + [b"in an archive"] + [b"uploaded"] * 2 + [b"in memory"]


def test_one_file_is_one_image_and_not_its_lines(client: Client, service: FakeService) -> None:
    client.embed_image(io.BytesIO(b"one\ntwo\nthree"))
    client.similarity(io.BytesIO(b"one\ntwo"), "a")
    assert sent(service) == [b"one\ntwo\nthree"]
    assert [item.image.content for item in service.seen["Similarity"][0].queries] == [b"one\ntwo"]


def test_a_file_is_read_from_where_it_stands(client: Client, service: FakeService) -> None:
    file = io.BytesIO(b"header image")
    file.seek(7)
    client.classify([file], ["a"])
    assert service.seen["ClassifyImage"][0].images[0].content == b"image"


class Awaited:
    """A file as aiofiles and web frameworks have it."""

    async def read(self) -> bytes:
        return b"never"


def closed() -> io.BytesIO:
    file = io.BytesIO(b"image")
    file.close()
    return file


def at_its_end() -> io.BytesIO:
    file = io.BytesIO(b"image")
    file.read()
    return file


class Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (io.StringIO("text"), TypeError, r'images\[1\]: the file is open for text; open it with mode "rb"'),
    (Awaited(), TypeError, r"images\[1\]: the file must be awaited"),
    (closed(), altclip.UnreadableInput, r"images\[1\]: the file cannot be read: I/O operation on closed"),
    (at_its_end(), altclip.UnreadableInput, r"images\[1\]: nothing is left to read in the file"),
    (Broken(), OSError, "Input/output error"),
]


@pytest.mark.parametrize(("file", "kind", "what"), REFUSED)
def test_a_file_that_gives_no_bytes_is_refused_by_its_place(
    client: Client, service: FakeService, file: Any, kind: type[Exception], what: str
) -> None:
    with pytest.raises(kind, match=what):
        client.embed_image([b"an image", file])
    assert not service.seen["EmbedImage"]


def test_a_stream_goes_on_past_files_that_give_no_bytes(client: Client) -> None:
    items: list[Any] = [io.BytesIO(b"first"), *(file for file, _, _ in REFUSED), io.BytesIO(b"last")]
    results = sorted(client.embed_stream(items), key=lambda result: result.index)
    failed = [type(result.error) for result in results[1:-1]]
    assert failed == [altclip.UnreadableInput] * len(REFUSED)
    assert [result.vector[0] for result in (results[0], results[-1])] == [5, 4]
