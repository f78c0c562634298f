"""What the benchmark of HTTP beside gRPC reads from h2load: good answers only."""

from __future__ import annotations

import pytest

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks.service.gateway import _framed, _succeeded

COUNTS = (
    "requests: {total} total, 43 started, {total} done, {good} succeeded, {failed} failed, "
    "{errored} errored, 0 timeout"
)


def output(good: int, failed: int = 0, errored: int = 0) -> str:
    total = good + failed + errored
    return "finished in 1.00s\n" + COUNTS.format(total=total, good=good, failed=failed, errored=errored)


def test_answers_that_are_good_are_counted() -> None:
    assert _succeeded(output(42)) == 42


@pytest.mark.parametrize(
    "text", [output(42, failed=1), output(42, errored=1), output(0), "no connection", ""]
)
def test_a_run_with_bad_answers_or_none_fails(text: str) -> None:
    with pytest.raises(RuntimeError, match="no answers, or bad ones"):
        _succeeded(text)


def test_a_grpc_message_is_framed_with_its_length() -> None:
    (body,) = _framed([["a black cat"]])
    assert body[:5] == b"\0" + (len(body) - 5).to_bytes(4, "big")
    assert pb.EmbedTextRequest.FromString(body[5:]).texts == ["a black cat"]
