"""One call of any transport: its id, who may make it, what its caller is told, how it is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from service.config.keys import Keyring, line_of, parse
from service.config.rpcs import CODES
from service.frontend.api.errors import (
    DeadlineTooShort,
    Draining,
    Internal,
    InvalidRequest,
    QueueFull,
    QuotaExceeded,
    ServiceError,
    Unauthenticated,
)
from service.frontend.calls.callers import Callers
from service.frontend.calls.gate import Gate
from service.frontend.calls.lifecycle import Ended, Lifecycle, StrangersLog, within_deadline
from service.frontend.calls.trace_context import TraceContext
from service.frontend.http.errors import NotFound
from tests.panics import LETTER, panicking
from tests.service.running import line
from worker.errors import UndecodableImage
from worker.runtime import logs
from worker.runtime.metric_labels import OTHER
from worker.runtime.metrics import Layout, Metrics

BEARER = "Bearer the-secret"


class Transport:
    """What a transport has of its own: how it counts."""

    def __init__(self, gate: Gate | None = None, *limits: str) -> None:
        self.gate = gate or Gate()
        self.ended: list[Ended] = []
        self.metrics = Metrics.local(Layout(("m",), ("cpu",), callers=("search",), codes=CODES))
        self.callers = Callers(Keyring(parse(line_of("search", "the-secret", limits))))
        self.lifecycle = Lifecycle(self.gate, self.callers, self.metrics, self.ended.append)

    def counted(self, caller: str, code: str) -> float:
        return self.metrics.caller_requests.value(caller, code)

    def end(self, error: BaseException) -> ServiceError | None:
        """A call that ends with this error."""
        return self.lifecycle.failed(self.lifecycle.begin("Method"), error)


def fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.name == "altclip.calls"]


async def test_an_error_is_counted_by_its_reason_and_one_of_a_transport_alone_as_other() -> None:
    transport = Transport()
    transport.end(QueueFull())
    transport.end(QuotaExceeded())
    transport.end(ZeroDivisionError())
    transport.end(NotFound())
    counted = transport.metrics.call_errors
    reasons = ("QUEUE_FULL", "QUOTA_EXCEEDED", "INTERNAL", OTHER)
    assert [counted.value(reason) for reason in reasons] == [1, 1, 1, 1]
    assert sum(counted.value(*labels) for labels in counted.first) == 4


def test_a_clients_request_id_is_kept_and_stands_in_the_log() -> None:
    call = Transport().lifecycle.begin("Method", request_id="mine-1/2 3")
    assert call.request_id == "mine-1/2 3"
    assert logs.request_id.get() == "mine-1/2 3"


def test_a_trace_stands_in_the_log_of_its_own_call_alone() -> None:
    lifecycle = Transport().lifecycle
    for context in (TraceContext("a" * 32, "b" * 16, 1), None):
        lifecycle.begin("Method", context=context)
        assert logs.trace.get() == (context and (context.trace_id, context.span_id))


@pytest.mark.parametrize("given", ["", "x" * 129, "café", "a\nb", b"bytes"])
def test_a_request_id_that_no_log_can_take_is_replaced(given: str | bytes) -> None:
    lifecycle = Transport().lifecycle
    made = {lifecycle.begin("Method", request_id=given).request_id for _ in range(2)}
    assert len(made) == 2
    assert all(len(each) == 16 for each in made)


@pytest.mark.parametrize(
    ("given", "peer"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("::ffff:1:2", "::ffff:1:2"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", ""),
    ],
)
def test_a_client_is_the_same_over_a_socket_for_ipv4_and_one_for_both(given: str, peer: str) -> None:
    assert Transport().lifecycle.begin("Method", peer=given).whose == peer


def test_an_admitted_call_bears_its_callers_name_and_leaves_when_it_ends() -> None:
    transport = Transport(None, "concurrency=1")
    call = transport.lifecycle.begin("Method", peer="127.0.0.1")
    assert call.whose == "127.0.0.1"
    with transport.lifecycle.admitted(call, BEARER):
        assert (call.caller, call.whose) == ("search", "search")
        assert transport.gate.active == 1
        other = transport.lifecycle.begin("Method")
        with pytest.raises(QuotaExceeded), transport.lifecycle.admitted(other, BEARER):
            raise AssertionError("it was let in")
        assert transport.gate.active == 1
    assert transport.gate.active == 0
    with transport.lifecycle.admitted(call, BEARER):  # its place was given back
        pass


@pytest.mark.parametrize("authorization", [None, "", "Bearer wrong", "Basic the-secret"])
def test_a_call_without_a_valid_key_is_not_admitted(authorization: str | None) -> None:
    transport = Transport()
    with pytest.raises(Unauthenticated):
        transport.lifecycle.known(authorization)
    call = transport.lifecycle.begin("Method")
    with pytest.raises(Unauthenticated), transport.lifecycle.admitted(call, authorization):
        raise AssertionError("it was let in")
    assert transport.gate.active == 0


def test_one_gate_closes_all_transports() -> None:
    gate = Gate()
    transports = Transport(gate), Transport(gate)
    gate.close()
    for transport in transports:
        call = transport.lifecycle.begin("Method")
        with pytest.raises(Draining), transport.lifecycle.admitted(call, BEARER):
            raise AssertionError("it was let in")


def test_a_long_call_ends_when_its_key_is_removed() -> None:
    transport = Transport()
    call = transport.lifecycle.begin("Method")
    with transport.lifecycle.admitted(call, BEARER):
        transport.lifecycle.recheck(call)
        transport.callers.change(Keyring(parse(line_of("newcomer", "another-secret", ()))))
        with pytest.raises(Unauthenticated):
            transport.lifecycle.recheck(call)


def test_an_answer_is_counted_for_its_transport_and_its_caller() -> None:
    transport = Transport()
    call = transport.lifecycle.begin("Method")
    with transport.lifecycle.admitted(call, BEARER):
        pass
    transport.lifecycle.answered(call)
    (ended,) = transport.ended
    assert (ended.method, ended.code, ended.error) == ("Method", "OK", None)
    assert transport.counted("search", "OK") == 1


def test_the_time_of_a_call_starts_when_its_request_has_arrived() -> None:
    transport = Transport()
    call = transport.lifecycle.begin("Method")
    call.started -= 100.0
    with transport.lifecycle.admitted(call, BEARER):
        pass
    transport.lifecycle.answered(call)
    assert transport.ended[0].seconds < 100.0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest.at("texts", "must not be empty"), "INVALID_ARGUMENT"),
        (UndecodableImage("no picture"), "INVALID_ARGUMENT"),
        (QueueFull(), "RESOURCE_EXHAUSTED"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
)
async def test_a_failed_call_is_counted_under_the_code_that_its_caller_is_told(
    error: Exception, code: str
) -> None:
    transport = Transport()
    known = transport.end(error)
    assert known is not None
    assert known.entry.code.name == code
    assert [(ended.code, ended.error) for ended in transport.ended] == [(code, known)]
    assert transport.counted("anonymous", code) == 1


@pytest.mark.parametrize(
    ("seconds", "code"), [(None, "CANCELLED"), (50.0, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED")]
)
async def test_of_a_cancelled_call_nobody_is_told_and_the_deadline_says_why(
    seconds: float | None, code: str
) -> None:
    transport = Transport()
    told: list[ServiceError | None] = []

    async def handler() -> None:
        call = transport.lifecycle.begin("Method", seconds=seconds)
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            told.append(transport.lifecycle.failed(call, error))
            raise

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == [None]
    assert [ended.code for ended in transport.ended] == [code]


async def test_a_cancelled_future_inside_is_a_bug_and_not_a_client_that_went() -> None:
    assert isinstance(Transport().end(asyncio.CancelledError()), Internal)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
async def test_the_end_of_the_process_is_no_end_of_a_call(error: BaseException) -> None:
    transport = Transport()
    assert transport.end(error) is None
    assert transport.ended == []


async def test_a_panic_in_rust_is_a_bug_although_it_is_no_exception() -> None:
    transport = Transport()
    with pytest.raises(BaseException, match="index out of bounds") as panic:
        panicking().encode(LETTER)
    assert not isinstance(panic.value, Exception)
    assert isinstance(transport.end(panic.value), Internal)
    assert transport.counted("anonymous", "INTERNAL") == 1


async def test_a_bug_in_the_counting_costs_no_caller_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    transport = Transport()

    def broken(ended: Ended) -> None:
        raise KeyError(ended.method)

    lifecycle = Lifecycle(transport.gate, transport.callers, transport.metrics, broken)
    lifecycle.answered(lifecycle.begin("New"))
    known = lifecycle.failed(lifecycle.begin("New"), InvalidRequest())
    assert isinstance(known, InvalidRequest)
    said = [record for record in caplog.records if vars(record)["event"] == "call_not_counted"]
    assert [vars(record)["fields"]["method"] for record in said] == ["New", "New"]


async def test_errors_of_overload_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    transport = Transport()
    transport.end(QueueFull())
    transport.end(Draining())
    assert fields(caplog) == []
    transport.end(InvalidRequest.at("texts", "must not be empty"))
    assert [each["fields"] for each in fields(caplog)] == [["texts"]]


async def test_a_bug_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    transport = Transport()
    transport.end(ValueError("could not convert 'a secret text'"))
    (record,) = caplog.records
    assert line(record)["exception"] == "builtins.ValueError"
    assert "secret" not in str(line(record))


@pytest.mark.parametrize("keys", [True, False])
async def test_strangers_do_not_flood_the_log(caplog: pytest.LogCaptureFixture, keys: bool) -> None:
    caplog.set_level(logging.DEBUG)
    own = Transport()
    lifecycle = Lifecycle(own.gate, own.callers if keys else Callers(), own.metrics)
    for _ in range(100):
        lifecycle.failed(lifecycle.begin("other", peer="10.0.0.1"), NotFound())
        lifecycle.failed(lifecycle.begin("EmbedText"), InvalidRequest.at("texts", "must not be empty"))
    invalid = [each for each in fields(caplog) if each["reason"] == "INVALID_REQUEST"]
    unknown = [each for each in fields(caplog) if each["reason"] == "NOT_FOUND"]
    assert (unknown[0]["peer"], unknown[0]["count"], len(unknown) < 10) == ("10.0.0.1", 1, True)
    assert (invalid[0]["fields"], len(invalid) < 10) == (["texts"], keys)


def test_a_strangers_calls_are_a_line_a_second_that_says_how_many() -> None:
    log = StrangersLog()
    assert [log.count(now) for now in (0.0, 0.1, 0.9, 1.0, 1.1)] == [1, 0, 0, 3, 0]


async def test_work_past_its_deadline_is_ended() -> None:
    call = Transport().lifecycle.begin("Method", seconds=0.01)
    with pytest.raises(DeadlineTooShort):
        async with within_deadline(call):
            await asyncio.Event().wait()


async def test_work_in_time_and_work_without_a_deadline_are_left_alone() -> None:
    lifecycle = Transport().lifecycle
    for seconds in (None, 60.0):
        async with within_deadline(lifecycle.begin("Method", seconds=seconds)):
            await asyncio.sleep(0)


async def test_a_timeout_inside_is_not_taken_for_the_deadline() -> None:
    call = Transport().lifecycle.begin("Method", seconds=60.0)
    with pytest.raises(TimeoutError):
        async with within_deadline(call):
            raise TimeoutError


def test_the_deadline_counts_from_the_arrival() -> None:
    before = time.monotonic()
    call = Transport().lifecycle.begin("Method", seconds=5.0)
    assert call.deadline is not None
    assert before + 5.0 <= call.deadline <= time.monotonic() + 5.0
