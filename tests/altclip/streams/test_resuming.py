"""A stream that breaks goes on over another call: each item is answered once, and nothing tried for ever."""

from __future__ import annotations

from collections import Counter

import grpc
import pytest

import altclip
from altclip import Client
from altclip.streams.ledger import MOST_TRIES
from tests.altclip.fake_service import Failure, FakeService

DRAINING = Failure(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after=0.01, pushback_ms="10")
TEXTS = ["x" * (number % 40) for number in range(200)]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "CANCELLED"])
def test_what_a_broken_call_left_is_sent_once_more_over_another(
    client: Client, service: FakeService, code: str
) -> None:
    service.stream_limit = 30
    service.failures["after"] = [DRAINING, Failure(grpc.StatusCode[code])]  # bare: as a broken connection
    results = sorted(client.embed_stream(TEXTS, window=100), key=lambda result: result.index)
    assert [result.index for result in results] == list(range(200))
    assert [result.vector[0] for result in results] == [len(text) for text in TEXTS]
    assert len(service.seen["EmbedStream"]) == 3
    assert Counter(service.seen["answered"]) == Counter(map(str, range(200)))


def test_a_stream_whose_last_answers_came_ends_well_however_its_call_ends(
    client: Client, service: FakeService
) -> None:
    service.stream_limit = 3
    service.failures["after"] = [DRAINING]
    assert len(list(client.embed_stream(["a", "b", "c"]))) == 3
    assert sorted(service.seen["answered"]) == ["0", "1", "2"]


def test_an_item_that_is_never_answered_fails_the_stream_after_some_tries(
    client: Client, service: FakeService
) -> None:
    service.stream_limit = 1
    service.failures["after"] = [DRAINING] * 50
    with pytest.raises(altclip.Unavailable, match="DRAINING"):
        list(client.embed_stream(["unanswered", *["a"] * 20]))
    assert len(service.seen["EmbedStream"]) == MOST_TRIES


def test_a_call_without_any_answer_is_tried_as_often_as_the_channel_does_and_no_more(
    client: Client, service: FakeService
) -> None:
    service.failures["EmbedStream"] = [DRAINING] * 50
    with pytest.raises(altclip.Unavailable, match="DRAINING"):
        list(client.embed_stream(["a"]))
    assert len(service.seen["EmbedStream"]) == 5


def test_an_error_of_the_service_itself_is_raised(client: Client, service: FakeService) -> None:
    service.stream_limit = 3
    service.failures["after"] = [Failure(grpc.StatusCode.INTERNAL, "INTERNAL")]
    with pytest.raises(altclip.Internal):
        list(client.embed_stream(["a"] * 10))
    assert len(service.seen["EmbedStream"]) == 1


def test_vectors_of_other_weights_are_not_mixed_in(client: Client, service: FakeService) -> None:
    service.revisions = ["a" * 16, "b" * 16]
    service.stream_limit = 3
    service.failures["after"] = [DRAINING]
    with pytest.raises(altclip.RevisionChanged, match=r"aaaa.*bbbb"):
        list(client.embed_stream(["a"] * 10))


def test_the_time_of_a_stream_is_that_of_all_its_calls(client: Client, service: FakeService) -> None:
    service.stream_limit = 3
    later = Failure(grpc.StatusCode.UNAVAILABLE, "DRAINING", retry_after=0.9)
    service.failures["after"] = [later] * 50
    with pytest.raises(altclip.DeadlineExceeded):
        list(client.embed_stream(["a"] * 100, timeout=0.5))
