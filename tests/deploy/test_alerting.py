"""Faults are put into running services, and a real Prometheus and Alertmanager tell of them.

Every alert is fired here. Windows and waits are shortened alike (`faster`), thresholds only where the fault
itself would take too long. Two alerts are fired with every test run, all of them by `make deploy-test`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from service.config.keys import line_of
from tests.certificates import make_pair
from tests.deploy.loading import never_ready
from tests.deploy.monitoring import Monitoring, monitored
from tests.deploy.rule_files import alerts
from tests.faults.harness import open_stub, service
from tests.faults.http_calls import ask
from tests.server import COMMAND, RunningServer, start_server, until

POISON = "m=stub:dimension=8,image_size=32,poison=venom"
KEY = "the-secret"
NUMBERS = itertools.count()  # equal texts that are under way would be computed once
# How much memory this machine has left tells nothing of the services.
NO_MATTER = {"altclip:threshold:memory_ratio": 2.0}
# A machine whose cores are all taken makes any service slow.
OF_SPEED = {
    "AltclipAbsent",
    "AltclipLatencyFast",
    "AltclipLatencySlow",
    "AltclipNoProgress",
    "AltclipQueueStanding",
    "AltclipTargetDown",
}


@contextmanager
def repeated(*actions: Callable[[], object], pause: float = 0.05) -> Iterator[None]:
    """Each action again and again, in a thread of its own, until the block ends. Calls may fail."""
    over = threading.Event()

    def run(action: Callable[[], object]) -> None:
        while not over.wait(pause):
            with contextlib.suppress(grpc.RpcError, OSError, psutil.NoSuchProcess):
                action()

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def call(server: RunningServer, text: str) -> Callable[[], object]:
    """A gRPC call of one text, another one each time."""

    def made() -> object:
        with open_stub(server) as stub:
            sent = pb.EmbedTextRequest(texts=[f"{text} {next(NUMBERS)}"])
            return stub.EmbedText(sent, timeout=30, metadata=(("authorization", f"Bearer {KEY}"),))

    return made


def request(server: RunningServer, text: str) -> Callable[[], object]:
    """The same over HTTP."""
    return lambda: ask(server, f"{text} {next(NUMBERS)}", seconds=30)


def death(server: RunningServer, title: str) -> Callable[[], object]:
    """One process of this title is killed, if there is any just now."""

    def made() -> object:
        for process in server.processes(title)[:1]:
            process.kill()
        return None

    return made


def told_of(seen: Monitoring, job: str) -> set[str]:
    """The names of all alerts that were told of it."""
    return {each["labels"]["alertname"] for each in seen.told if each["labels"].get("job") == job}


@pytest.mark.timeout(400)
def test_errors_and_a_damaged_file_are_told_and_a_service_that_is_well_is_not(
    server: RunningServer, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(line_of("search", KEY))
    with service(POISON, f"--api-keys={keys}") as ill:
        targets = {"ill": ill.ops, "well": server.ops}
        with (
            monitored(targets, tmp_path, speed=100, thresholds=NO_MATTER) as seen,
            repeated(call(ill, "venom"), call(server, "a cat"), request(server, "a cat"), pause=0.02),
        ):
            seen.wait_for("AltclipErrorsFast", "ill", seconds=120)
            # So fast, a rule may see the failed and all calls as they were at different moments.
            until(
                lambda: seen.summary("AltclipErrorsFast", "ill") == "ill: 100% of the grpc calls fail",
                seconds=120,
                what="the alert says how many calls fail",
            )
            keys.write_text("this is no line of keys\n")
            stale = seen.wait_for("AltclipFileStale", "ill", seconds=120)
            assert told_of(seen, "well") <= OF_SPEED
    assert stale["annotations"]["summary"] == f"{ill.ops}: the file of api_keys is damaged"
    assert stale["annotations"]["runbook_url"] == "docs/runbooks.md#altclipfilestale"


# Where a fault would have to last: what the rules compare with, in this test alone.
SOONER = {**NO_MATTER, "altclip:threshold:no_progress_seconds": 3.0}
MEMORY = "AltclipMemoryNearLimit"  # needs a limit of its own: see below


@pytest.mark.deploy
@pytest.mark.timeout(900)
def test_every_alert_is_told_when_its_fault_is_there(server: RunningServer, tmp_path: Path) -> None:
    pair, keys, hold = make_pair(tmp_path, "one"), tmp_path / "keys.txt", tmp_path / "hold"
    chain, key = pair.put(tmp_path)
    keys.write_text(line_of("search", KEY))
    stub = "m=stub:dimension=8,image_size=32"
    with ExitStack() as running:

        def start(*arguments: str) -> RunningServer:
            return running.enter_context(service(*arguments))

        failing = start(POISON)
        # One text a batch, and six callers.
        slow = start(f"{stub},service_time=0.8", "--batch-tokens=8")
        # A batch that never ends, and no room for more than it.
        held = start(f"{stub},hold={hold}", "--max-queue-items=1", "--hang-timeout=600")
        dying = start(stub, "--frontends=2", "--restart-limit=1000", "--restart-stable=10ms")
        files = start(stub, f"--tls-certificate={chain}", f"--tls-key={key}", f"--api-keys={keys}")
        decoding = start(stub, "--decoders=1")
        gone = start(stub)
        loading = running.enter_context(never_ready())
        started = {
            "failing": failing,
            "slow": slow,
            "held": held,
            "dying": dying,
            "files": files,
            "decoding": decoding,
            "gone": gone,
            "well": server,
        }
        targets = {**{job: each.ops for job, each in started.items()}, "loading": loading}
        seen = running.enter_context(monitored(targets, tmp_path, speed=60, thresholds=SOONER))
        until(
            lambda: seen.value("count(altclip_build_info)") == len(targets),
            seconds=60,
            what="all are scraped",
        )
        hold.touch()
        keys.write_text("this is no line of keys\n")
        gone.stop()
        calls = [
            *(each for text in ("venom",) for each in (call(failing, text), request(failing, text))),
            *(each for _ in range(3) for each in (call(slow, "a cat"), request(slow, "a cat"))),
            *(call(held, "a cat") for _ in range(3)),
            *(each(server, "a cat") for each in (call, request)),
        ]
        deaths = [
            death(dying, "altclip-worker"),
            death(dying, "altclip-frontend"),
            death(decoding, "altclip-decoder"),
        ]
        expected = {
            "AltclipErrorsFast": "failing",
            "AltclipErrorsSlow": "failing",
            "AltclipLatencyFast": "slow",
            "AltclipLatencySlow": "slow",
            "AltclipQueueStanding": "slow",
            "AltclipCallsRefused": "held",
            "AltclipCallerRefused": "held",
            "AltclipNoProgress": "held",
            "AltclipWorkerRestarting": "dying",
            "AltclipFrontendRestarting": "dying",
            "AltclipDecodersDying": "decoding",
            "AltclipFileStale": "files",
            "AltclipCertificateExpiring": "files",
            "AltclipCertificateUrgent": "files",
            "AltclipTargetDown": "gone",
            "AltclipAbsent": "gone",
            "AltclipModelDown": "loading",
        }
        with repeated(*calls, pause=0.2), repeated(*deaths, pause=0.7):
            for alert, job in expected.items():
                seen.wait_for(alert, job, seconds=120)
        for alert in ("AltclipErrorsFast", "AltclipErrorsSlow", "AltclipLatencyFast", "AltclipLatencySlow"):
            transports = {each["labels"]["transport"] for each in seen.fired(alert, expected[alert])}
            assert transports == {"grpc", "http"}, alert
        assert told_of(seen, "well") <= OF_SPEED
        assert {*expected, MEMORY} == set(alerts())
        hold.unlink()


@pytest.mark.deploy
def test_a_service_that_nobody_sees_is_told(tmp_path: Path) -> None:
    with service() as server, monitored({"altclip": server.ops}, tmp_path, speed=60) as seen:
        until(lambda: seen.value("count(altclip_build_info)") == 1, seconds=60, what="it is scraped")
        server.stop()
        of_none = seen.wait_for("AltclipAbsent", seconds=120)
        of_it = seen.wait_for("AltclipAbsent", "altclip", seconds=120)
        seen.wait_for("AltclipTargetDown", "altclip", seconds=120)
    assert of_none["annotations"]["summary"] == "no AltCLIP service is seen at all"
    assert of_it["annotations"]["summary"] == "no pod of altclip is seen"


@pytest.mark.deploy
def test_memory_that_is_nearly_used_up_is_told(tmp_path: Path) -> None:
    with memory_group() as group, ExitStack() as running:
        command = tmp_path / "altclip-server"
        command.write_text(f'#!/bin/sh\necho $$ >{group / "cgroup.procs"}\nexec {COMMAND} "$@"\n')
        command.chmod(0o755)
        server = running.enter_context(start_server("--model=m=stub:dimension=8", command=command))
        seen = running.enter_context(monitored({"altclip": server.ops}, tmp_path, speed=60))
        until(lambda: seen.value("count(altclip_build_info)") == 1, seconds=60, what="it is scraped")
        used = int((group / "memory.usage_in_bytes").read_text())
        (group / "memory.limit_in_bytes").write_text(str(round(used / 0.95)))
        told = seen.wait_for("AltclipMemoryNearLimit", "altclip", seconds=120)
        assert told["labels"]["severity"] == "ticket"


@contextmanager
def memory_group() -> Iterator[Path]:
    """A cgroup of version 1 below our own, whose limit can be set. Skips where none can be made."""
    ours = [
        line.split(":")[2]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if ":memory:" in line
    ]
    root = Path("/sys/fs/cgroup/memory")
    group = root.joinpath(*(part.lstrip("/") for part in ours), f"altclip-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup with a memory limit can be made here: {error}")
    try:
        yield group
    finally:
        group.rmdir()
