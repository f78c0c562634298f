"""The documented client configuration while servers come and go: nobody notices."""

from __future__ import annotations

import threading
from collections.abc import Callable

from altclip import Client
from tests.server import start_server, until

STUB = ("--model", "stub:dimension=8,service_time=0.01")


def test_no_call_fails_while_one_of_two_servers_drains() -> None:
    failures: list[BaseException] = []
    answered = [0] * 4
    stop = threading.Event()

    def keep_calling(number: int, call: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                call()
                answered[number] += 1
            except BaseException as error:
                failures.append(error)

    with (
        start_server(*STUB) as staying,
        start_server(*STUB) as leaving,
        Client(f"ipv4:{staying.grpc},{leaving.grpc}") as client,
    ):
        client.wait_until_ready(timeout=60)
        callers = [
            threading.Thread(
                target=keep_calling,
                args=(number, lambda number=number: client.embed_text(f"text {number}")),
            )
            for number in range(4)
        ]
        for caller in callers:
            caller.start()
        until(lambda: sum(answered) >= 40, what="load")
        until(lambda: leaving.metric("altclip_requests_total", method="EmbedText") > 0, what="load on both")
        assert leaving.stop() == 0
        before = sum(answered)
        until(lambda: sum(answered) >= before + 40, what="load on the other")
        stop.set()
        for caller in callers:
            caller.join()
    assert failures == []
