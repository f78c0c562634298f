"""From a status to an exception that a person can act on."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import altclip
from altclip.calls import status
from tests.altclip.fake_service import Failure

PROTO = Path(__file__).parents[3] / "protos/altclip/v1/embedding_service.proto"


def documented_reasons() -> dict[str, str]:
    """Reason → code, as the API's reference manual lists them."""
    return dict(re.findall(r"^//   ([A-Z_]+) +([A-Z_]+) {2,}\S", PROTO.read_text(), re.MULTILINE))


def test_every_documented_reason_has_a_class_with_its_code() -> None:
    documented = documented_reasons()
    assert len(documented) == 16
    assert documented == {reason: kind.code.name for reason, kind in status.BY_REASON.items()}


@pytest.mark.parametrize("reason", sorted(status.BY_REASON))
def test_a_reason_picks_its_class(reason: str) -> None:
    kind = status.BY_REASON[reason]
    raised = status.from_status(Failure(kind.code, reason).proto(), request_id="r")
    assert type(raised) is kind
    assert (raised.reason, raised.code, raised.request_id) == (reason, kind.code, "r")


def test_the_text_tells_what_to_do() -> None:
    failure = Failure(
        grpc.StatusCode.INVALID_ARGUMENT,
        "UNDECODABLE_IMAGE",
        "a picture cannot be decoded",
        fields=[("images[3].content", "the file ends early")],
    )
    text = str(status.from_status(failure.proto(), request_id="7f"))
    assert text == (
        "UNDECODABLE_IMAGE: a picture cannot be decoded (images[3].content: the file ends early) [request 7f]"
    )


def test_a_field_that_the_message_names_is_not_named_twice() -> None:
    fields = [("texts[0]", "too long")]
    failure = Failure(grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG", "texts[0]: too long", fields=fields)
    assert str(status.from_status(failure.proto())) == "TEXT_TOO_LONG: texts[0]: too long"


def test_reasons_of_other_domains_are_not_ours() -> None:
    proto = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="no healthy upstream")
    proto.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="proxy"))
    raised = status.from_status(proto)
    assert (type(raised), raised.reason) == (altclip.Unavailable, "")
    assert str(raised) == "UNAVAILABLE: no healthy upstream"


def test_a_proxys_rate_limit_is_no_message_size() -> None:
    limited = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="rate limited")
    raised = status.from_status(limited)
    assert (type(raised), raised.retryable) == (altclip.Overloaded, False)


def test_details_that_are_garbage_leave_the_plain_status() -> None:
    class Garbled:
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.INTERNAL

        def details(self) -> str:
            return "oh"

        def trailing_metadata(self) -> list[tuple[str, str | bytes]]:
            return [("grpc-status-details-bin", b"\xff\xff\xff"), ("x-request-id", "from-the-server")]

    raised = status.from_call(Garbled())
    assert (type(raised), raised.message, raised.request_id) == (altclip.Internal, "oh", "from-the-server")


def test_an_unknown_code_is_still_an_error() -> None:
    assert type(status.from_status(status_pb2.Status(code=99))) is altclip.Internal
    assert type(status.from_status(status_pb2.Status(code=6))) is altclip.AltClipError


def test_errors_cross_process_borders() -> None:
    failure = Failure(grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG", fields=[("texts[0]", "x")])
    raised = status.from_status(failure.proto(), request_id="r")
    copy = pickle.loads(pickle.dumps(raised))
    assert (type(copy), str(copy), copy.fields) == (type(raised), str(raised), raised.fields)


def test_indices_are_shifted_only_for_their_field() -> None:
    error = altclip.InvalidRequest(
        "texts[3] and contexts[3] and labels[3]", fields=[altclip.FieldViolation("texts[3].x", "bad")]
    )
    assert error.shifted("texts", 50).message == "texts[53] and contexts[3] and labels[3]"
    assert error.fields[0].field == "texts[53].x"


def test_a_proxy_in_the_environment_is_named_where_no_server_answers() -> None:
    assert status.through_proxy({}) == ""
    assert status.through_proxy({"http_proxy": ""}) == ""
    assert "https_proxy is set" in status.through_proxy({"http_proxy": "http://p", "https_proxy": "http://q"})
