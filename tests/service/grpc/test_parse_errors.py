"""Which field of an unreadable message is at fault."""

from __future__ import annotations

import contextlib
import random

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.api.errors import InvalidRequest
from service.frontend.grpc.handlers import parse


def fault(
    kind: type[pb.EmbedTextRequest | pb.ClassifyImageRequest | pb.EmbedStreamRequest], raw: bytes
) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        parse(kind, raw)
    return refused.value


def test_invalid_utf8_is_found_in_a_list() -> None:
    raw = (
        pb.EmbedTextRequest(model="m", texts=["a", "b", "xx", "d"])
        .SerializeToString()
        .replace(b"xx", b"\xff\xfe")
    )
    assert [violation.path for violation in fault(pb.EmbedTextRequest, raw).violations] == ["texts[2]"]


def test_invalid_utf8_is_found_deep_inside() -> None:
    items = [pb.StreamItem(id="1", text="a"), pb.StreamItem(id="2", image=pb.Image(uri="xx"))]
    message = pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))
    raw = message.SerializeToString().replace(b"xx", b"\xc0\x80")
    assert fault(pb.EmbedStreamRequest, raw).violations[0].path == "batch.items[1].image.uri"


def test_a_surrogate_is_no_utf8() -> None:
    raw = pb.EmbedTextRequest(texts=["xxx"]).SerializeToString().replace(b"xxx", b"\xed\xa0\x80")
    assert fault(pb.EmbedTextRequest, raw).violations[0].path == "texts[0]"


def test_a_message_that_is_cut_off_names_its_field() -> None:
    raw = pb.EmbedTextRequest(texts=["abc", "defghi"]).SerializeToString()[:-2]
    error = fault(pb.EmbedTextRequest, raw)
    assert error.violations[0] == ("texts[1]", "is cut off")


def test_bytes_that_are_nothing_at_all_are_refused_without_a_path() -> None:
    error = fault(pb.EmbedTextRequest, b"\xff" * 20)
    assert error.violations == ()
    assert "altclip.v1.EmbedTextRequest" in error.message


def test_a_fault_behind_more_fields_than_requests_have_is_not_looked_for() -> None:
    """A message may hold millions of fields, and others wait while they are walked through."""
    good = pb.StreamItem(id="1", text="a").SerializeToString()
    items = b"\x0a" + bytes([len(good)]) + good
    for repeated, found in ((1000, True), (100_000, False)):
        batch = items * repeated + b"\x0a\x7f"
        raw = b"\x12" + varint(len(batch)) + batch
        assert bool(fault(pb.EmbedStreamRequest, raw).violations) is found


def varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def test_random_bytes_are_parsed_or_refused_and_nothing_else() -> None:
    generator = random.Random(5)
    for _ in range(3000):
        raw = generator.randbytes(generator.randrange(40))
        with contextlib.suppress(InvalidRequest):
            parse(pb.ClassifyImageRequest, raw)
