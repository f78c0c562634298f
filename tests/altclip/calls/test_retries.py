"""The documented channel configuration against a real server: what is tried again, when, and what is not."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import grpc
import pytest

import altclip
from altclip import Client
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1 import embedding_service_pb2_grpc
from tests.altclip.fake_service import Failure, FakeService, RunningFake, start_fake
from tests.server import free_port

FULL = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.6, pushback_ms="600")


def test_a_full_queue_is_tried_again_when_the_server_says(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [FULL]
    began = time.monotonic()
    assert len(client.embed_text("a")) == 1
    assert time.monotonic() - began >= 0.55
    assert len(service.seen["EmbedText"]) == 2


def test_a_stock_client_with_the_copied_configuration_does_the_same(fake: RunningFake) -> None:
    fake.service.failures["EmbedText"] = [FULL]
    options = [("grpc.service_config", json.dumps(altclip.service_config()))]
    with grpc.insecure_channel(fake.address, options) as channel:
        began = time.monotonic()
        embedding_service_pb2_grpc.EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=["a"]))
    assert time.monotonic() - began >= 0.55


def test_a_refusal_that_lasts_is_raised_after_five_tries(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.5, pushback_ms="10")
    ] * 9
    with pytest.raises(altclip.Overloaded, match=r"QUEUE_FULL: .*try again in 0\.5 s") as caught:
        client.embed_text("a", request_id="me")
    assert len(service.seen["EmbedText"]) == 5
    assert (caught.value.retry_after, caught.value.request_id, caught.value.retryable) == (0.5, "me", True)


def test_an_unavailable_worker_is_tried_again(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [Failure(grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE")] * 2
    assert len(client.embed_text("a")) == 1
    assert len(service.seen["EmbedText"]) == 3


def test_a_call_that_a_closing_server_cancels_is_tried_again(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [Failure(grpc.StatusCode.CANCELLED)]
    assert len(client.embed_text("a")) == 1
    assert len(service.seen["EmbedText"]) == 2


def test_a_server_that_asks_for_no_retry_gets_none(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [Failure(grpc.StatusCode.UNAVAILABLE, "DRAINING", pushback_ms="-1")]
    with pytest.raises(altclip.Unavailable):
        client.embed_text("a")
    assert len(service.seen["EmbedText"]) == 1


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED]
)
def test_what_cannot_help_is_not_tried_again(
    client: Client, service: FakeService, code: grpc.StatusCode
) -> None:
    service.failures["EmbedText"] = [Failure(code)] * 5
    with pytest.raises(altclip.AltClipError):
        client.embed_text("a")
    assert len(service.seen["EmbedText"]) == 1


def test_a_message_over_the_size_limit_is_sent_once(client: Client, service: FakeService) -> None:
    """A bare RESOURCE_EXHAUSTED: the message does not fit the retry buffer, so it is not sent again."""
    with pytest.raises(altclip.MessageTooLarge, match="larger than max"):
        client.similarity(b"x" * (37 << 20), "a")
    assert service.seen["Similarity"] == []
    assert service.arrived.count("Similarity") == 1


def test_large_messages_below_the_limit_are_retried(client: Client, service: FakeService) -> None:
    service.failures["Similarity"] = [Failure(grpc.StatusCode.UNAVAILABLE, "WORKER_UNAVAILABLE")]
    client.similarity(b"x" * (5 << 20), "a")
    assert len(service.seen["Similarity"]) == 2


def test_an_answer_over_the_limit_is_asked_for_once(fake: RunningFake, make_client: Any) -> None:
    small = make_client(fake.address, options=[("grpc.max_receive_message_length", 100)])
    with pytest.raises(altclip.MessageTooLarge):
        small.embed_text(["a"] * 30)
    assert len(fake.service.seen["EmbedText"]) == 1


def test_a_server_that_restarts_is_found_again(make_client: Any) -> None:
    first = start_fake(f"127.0.0.1:{free_port()}")
    client = make_client(first.address)
    client.embed_text("a")
    first.stop()
    second = start_fake(first.address)
    client.embed_text("a")
    second.stop()


def test_a_wrong_address_is_told_long_before_the_timeout(make_client: Any) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with pytest.raises(altclip.Unavailable, match=f"no server answers at {gone}"):
        make_client(gone, timeout=math.inf).embed_text("a")


def test_a_proxy_that_gRPC_asks_instead_is_named(make_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = f"127.0.0.1:{free_port()}"
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{gone}")
    with pytest.raises(altclip.Unavailable, match=r"\(http_proxy is set: that proxy may be asked"):
        make_client("127.0.0.1:9").embed_text("a")


def test_a_timeout_ends_the_call(client: Client, service: FakeService) -> None:
    service.failures["EmbedText"] = [Failure(grpc.StatusCode.UNAVAILABLE, pushback_ms="600000")]
    with pytest.raises((altclip.DeadlineExceeded, altclip.Unavailable)):
        client.embed_text(
            "a", timeout=0.3
        )  # the pause that the server asks for is longer than a test may last
