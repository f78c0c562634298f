"""Streams of both clients: any ids, one bad item, bounded memory in both directions, and a clean end."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import altclip
from altclip import Client
from altclip.streams.ledger import MESSAGE_BYTES, MESSAGE_ITEMS, Ledger, batch_message, item_message
from altclip.v1 import embedding_service_pb2 as pb
from tests.altclip import fake_service
from tests.altclip.fake_service import Failure, FakeService, RunningFake
from tests.server import until


def test_results_carry_the_callers_ids(client: Client) -> None:
    items: list[Any] = [("a", "one"), ({"any": "thing"}, b"12345"), "three", ("a", "four!")]
    results = sorted(client.embed_stream(items), key=lambda result: result.index)
    assert [result.id for result in results] == ["a", {"any": "thing"}, 2, "a"]
    assert [result.vector.tolist() for result in results] == [
        [3, 1, 2, 3], [5, 4, 5, 6], [5, 1, 2, 3], [5, 1, 2, 3]
    ]  # fmt: skip
    assert {result.revision for result in results} == {"0123456789abcdef"}
    assert results[0].timings.batch_size == 7
    assert [result.token_count for result in results] == [3, 0, 5, 5]


def test_thousands_come_back_once_each(client: Client, service: FakeService) -> None:
    results = list(client.embed_stream(("x" * (i % 50) for i in range(3000)), encoding="int8"))
    assert sorted(result.index for result in results) == list(range(3000))
    assert all(abs(result.vector[0] - result.index % 50) <= 0.5 for result in results)
    assert service.stream_read == 3000


def test_an_empty_stream_has_no_results(client: Client) -> None:
    assert list(client.embed_stream([])) == []


def test_one_bad_item_is_a_result_and_the_stream_goes_on(client: Client, tmp_path: Path) -> None:
    items: list[Any] = ["good", "poison", tmp_path / "missing.png", ("odd", 42), "long", "good"]
    results = sorted(client.embed_stream(items), key=lambda result: result.index)
    bad, unread = altclip.TextTooLong, altclip.UnreadableInput
    assert [result.error and type(result.error) for result in results] == [
        None,
        bad,
        unread,
        unread,
        None,
        None,
    ]
    assert "missing.png" in str(results[2].error)
    assert [result.truncated for result in results] == [False] * 4 + [True, False]
    with pytest.raises(altclip.TextTooLong):
        _ = results[1].vector


def test_nothing_waits_for_a_message_to_be_full(client: Client) -> None:
    """Each item is made only after the result before it was seen; collecting batches would hang."""
    seen = threading.Semaphore(1)

    def one_at_a_time() -> Iterator[str]:
        for _ in range(5):
            assert seen.acquire(timeout=60)
            yield "a"

    if type(client) is not Client:
        pytest.skip("a blocking iterator would hold the event loop")
    count = 0
    for _ in client.embed_stream(one_at_a_time()):
        count += 1
        seen.release()
    assert count == 5


class TestBackpressure:
    def test_a_consumer_that_stops_reading_pauses_the_producer(self, client: Client) -> None:
        made = itertools.count()
        latest = [0]

        def producer() -> Iterator[str]:
            for number in made:
                latest[0] = number
                yield "text"

        results = client.embed_stream(producer(), window=20)
        for _ in range(5):
            next(results)
        time.sleep(0.3)
        # 4 results are done with, the fifth is still in the consumer's hands
        assert latest[0] + 1 <= 4 + 20
        results.close()

    def test_a_server_that_stops_reading_pauses_the_producer(
        self, fake: RunningFake, service: FakeService
    ) -> None:
        service.stream_gate.clear()
        latest = [0]

        def producer() -> Iterator[str]:
            for number in range(1000):
                latest[0] = number
                yield "text"

        with Client(fake.address) as client:
            got: list[Any] = []
            consumer = threading.Thread(target=lambda: got.extend(client.embed_stream(producer(), window=30)))
            consumer.start()
            time.sleep(0.4)
            assert latest[0] + 1 <= 30
            service.stream_gate.set()
            consumer.join(60)
        assert len(got) == 1000

    def test_large_items_fill_the_window_sooner(self) -> None:
        ledger = Ledger(window=100, window_bytes=1000)
        for index in range(3):
            assert ledger.has_room
            ledger.admit(b"")
            ledger.queue(index, item_message(index, bytes(400)))
        assert not ledger.has_room


def threads_of_streams() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "altclip-stream"]


class TestEnds:
    def test_leaving_early_cancels_the_call(self, client: Client, service: FakeService) -> None:
        results = client.embed_stream("text" for _ in itertools.count())
        assert next(results).error is None
        results.close()
        assert service.stream_ended.wait(60)
        assert len(client.embed_text("still works")) == 1

    def test_no_thread_is_left(self, fake: RunningFake) -> None:
        with Client(fake.address) as client:
            for _ in range(3):
                next(client.embed_stream("text" for _ in itertools.count()))
            until(lambda: not threads_of_streams(), seconds=60, what="no thread is left")

    def test_the_callers_own_error_is_raised_as_it_is(self, client: Client, service: FakeService) -> None:
        def broken() -> Iterator[str]:
            yield from ["a"] * 600  # more than the window, so some results were taken
            raise LookupError("no more rows")

        with pytest.raises(LookupError, match="no more rows"):
            list(client.embed_stream(broken()))
        assert service.stream_ended.wait(60)

    def test_a_stream_that_is_refused_is_a_typed_error(self, client: Client, service: FakeService) -> None:
        service.failures["EmbedStream"] = [Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")]
        with pytest.raises(altclip.ModelNotFound) as caught:
            list(client.embed_stream(["a"], model="other", request_id="me"))
        assert caught.value.request_id == "me"

    def test_a_stream_that_breaks_gives_its_results_first(self, client: Client, service: FakeService) -> None:
        service.stream_limit = 3
        service.failures["after"] = [Failure(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")]
        results = client.embed_stream("text" for _ in itertools.count())
        assert [next(results).error for _ in range(3)] == [None] * 3
        with pytest.raises(altclip.Unauthenticated):
            next(results)

    def test_items_left_unanswered_are_told(self, client: Client, service: FakeService) -> None:
        service.stream_limit = 2
        with pytest.raises(altclip.Internal, match="left 3 items unanswered"):
            list(client.embed_stream(["a"] * 5))

    def test_an_answer_that_cannot_be_read_ends_the_stream(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut = pb.Embeddings(encoding=pb.ENCODING_FLOAT32, count=1, dimension=4, data=b"short")
        monkeypatch.setattr(fake_service, "encoded", lambda *_: cut)
        with pytest.raises(altclip.Internal, match="5 bytes where 16 belong"):
            list(client.embed_stream(["a"]))
        with pytest.raises(altclip.Internal, match="5 bytes where 16 belong"):
            client.embed_text("a")

    def test_a_refusal_with_pushback_is_tried_again(self, client: Client, service: FakeService) -> None:
        service.failures["EmbedStream"] = [
            Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.1, pushback_ms="100")
        ]
        assert len(list(client.embed_stream(["a", "b"]))) == 2


class TestLedger:
    def test_an_answer_that_nobody_asked_for_is_refused(self) -> None:
        ledger = Ledger()
        embeddings = pb.Embeddings(encoding=pb.ENCODING_FLOAT32, count=1, dimension=1, data=bytes(4))
        for wire_id in ("0", "x", ""):
            with pytest.raises(altclip.Internal, match="was not open"):
                ledger.answered(pb.EmbedStreamResponse(ids=[wire_id], embeddings=embeddings), "r")

    def test_a_window_holds_at_least_one(self, client: Client) -> None:
        with pytest.raises(ValueError, match="at least one"):
            client.embed_stream([], window=0)

    def test_a_message_takes_what_is_at_hand_and_no_more(self) -> None:
        at_hand = iter([item_message(i, "a") for i in range(3)])
        message, rest = batch_message(item_message(9, "a"), lambda: next(at_hand, None))
        assert (len(message.batch.items), rest) == (4, None)
        endless = (item_message(i, "a") for i in itertools.count())
        message, rest = batch_message(item_message(9, "a"), lambda: next(endless, None))
        assert (len(message.batch.items), rest) == (MESSAGE_ITEMS, None)

    def test_a_message_that_would_be_large_leaves_the_last_item_to_the_next(self) -> None:
        large = (item_message(i, bytes(400_000)) for i in itertools.count())
        message, rest = batch_message(next(large), lambda: next(large, None))
        assert [item.id for item in message.batch.items] == ["0", "1"]
        assert rest is not None
        assert rest.id == "2"
        assert message.ByteSize() < MESSAGE_BYTES + 1000
