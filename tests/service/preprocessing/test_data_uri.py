"""`data:` URIs are read as browsers read them."""

from __future__ import annotations

import base64
import contextlib
import textwrap
import tracemalloc
from urllib.parse import quote, unquote_to_bytes

import pytest

from service.frontend.api.errors import ImageTooLarge, InvalidRequest, UriNotAllowed
from service.frontend.preprocessing import data_uri
from service.frontend.preprocessing.data_uri import read_data_uri

CONTENT = bytes(range(256)) + b"!"  # 257 bytes: base64 of it ends with one "="
CODED = base64.b64encode(CONTENT).decode()
WRAPPED = "\r\n".join(textwrap.wrap(CODED, 76))


def read(uri: str, most: int = 10_000) -> bytes:
    return read_data_uri("images[0].uri", uri, most)


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{CODED}",
        f"data:;base64,{CODED}",
        f"DATA:image/png;BASE64,{CODED}",
        f"data:image/png; base64,{CODED}",
        f"data:image/png;  base64 ,{CODED}",
        f"data:image/png;name=a.png;base64,{CODED}",
        f"data:image/png;base64,{quote(CODED, safe='')}",
        f"data:image/png;base64,{''.join(f'%{ord(each):02X}' for each in CODED)}",
        f"data:image/png;base64,{WRAPPED}",
        f"data:image/png;base64,{WRAPPED.replace(chr(13), '')}",
        f"data:image/png;base64,{quote(WRAPPED)}",
        f"data:image/png;base64, {' '.join(textwrap.wrap(CODED, 60))} ",
        f"data:image/png;base64,{CODED.rstrip('=')}",
        f"data:image/png;base64,{CODED.replace('=', '%3D')}",
        f"data:image/png;base64,{CODED}#a fragment",
        f" \n data:image/png;base64,{CODED}\n",
        f"da\nta:image/p\tng;base64,{CODED}",
        f"data:image/png,{quote(CONTENT)}",
        f"data:,{quote(CONTENT)}#x",
    ],
)
def test_every_way_to_write_it_gives_the_same_content(uri: str) -> None:
    assert read(uri) == CONTENT


@pytest.mark.parametrize("part", range(3, 12))
def test_escapes_are_read_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(data_uri, "PART", part)
    for data in ("%41%42" * 10, "a%41" * 9, "%" * 20, "%4%41%%41%4" * 4, "abc", "%", "x%4", quote(CONTENT)):
        assert read(f"data:,{data}") == unquote_to_bytes(data)


def test_escapes_take_little_more_memory_than_their_text() -> None:
    uri = "data:," + "%41" * 300_000
    tracemalloc.start()
    try:
        assert read(uri, 300_000) == b"A" * 300_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * len(uri)


@pytest.mark.parametrize(
    "data",
    ["AAAA=", "AAA=A", "AA=", "A", "AA==A", "AAAA====", "AA-_", "AA!A", "AAAé", "%FF%FF%FF%FF", "===="],
)
def test_what_a_browser_does_not_read_is_refused(data: str) -> None:
    with pytest.raises(InvalidRequest, match="is not valid base64"):
        read(f"data:;base64,{data}")


def test_base64_must_be_the_last_word() -> None:
    assert read("data:base64,AAAA") == b"AAAA"
    assert read("data:image/png;base64;x=y,AAAA") == b"AAAA"
    assert read("data:image/png;base64x,AAAA") == b"AAAA"


def test_a_text_may_be_empty() -> None:
    assert read("data:,") == read("data:;base64,") == b""


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:", "data:image/png;base64#,AAAA"])
def test_a_comma_is_needed(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="has a comma"):
        read(uri)


@pytest.mark.parametrize("uri", ["", "file:///etc/passwd", "http://example.com/", "xdata:,a", "data/a,b"])
def test_other_addresses_are_not_read(uri: str) -> None:
    with pytest.raises(UriNotAllowed):
        read(uri)


@pytest.mark.parametrize("head", ["/9j/", "https://example.com/?"])
def test_a_long_address_that_is_refused_is_not_kept(head: str) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(UriNotAllowed):
            read(head + "x" * 2_000_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000


@pytest.mark.parametrize("data", [CODED, quote(CODED, safe=""), WRAPPED, CODED.rstrip("=")])
def test_the_limit_holds_for_the_content_and_not_for_how_it_is_written(data: str) -> None:
    assert read(f"data:;base64,{data}", len(CONTENT)) == CONTENT
    with pytest.raises(ImageTooLarge):
        read(f"data:;base64,{data}", len(CONTENT) - 1)
    assert read(f"data:,{quote(CONTENT)}", len(CONTENT)) == CONTENT
    with pytest.raises(ImageTooLarge):
        read(f"data:,{quote(CONTENT)}", len(CONTENT) - 1)
