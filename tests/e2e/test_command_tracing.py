"""The `altclip` command's own spans: one for each of its calls, which the service goes on with."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from altclip.tracing import names
from tests.docs.pages import examples
from tests.e2e.collector import Collector, collector, parents, the
from tests.server import RunningServer, free_port, start_server

UNARY = "altclip.v1.EmbeddingService/EmbedText"
CLIENT = "embeddings"
PATIENT = "60"
"""Seconds for which a command waits for the collector: a busy machine may need them."""


@pytest.fixture(scope="module")
def running() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture(scope="module")
def traced(running: Collector) -> Iterator[RunningServer]:
    with start_server(
        *("--model", "m=stub:dimension=8", "--tracing", "on", "--trace-endpoint", running.endpoint),
        environment={"OTEL_BSP_SCHEDULE_DELAY": "50"},
    ) as server:
        yield server


def command(
    server: RunningServer, *words: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "altclip", *map(str, words), "--address", server.grpc],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_command_is_the_top_of_the_trace_of_its_call(traced: RunningServer, running: Collector) -> None:
    code = examples("docs/tracing.md", "sh")[1].code
    program, *words = shlex.split(code.replace("http://collector:4317", running.endpoint), comments=True)
    assert program == "altclip"
    done = command(traced, *words, OTEL_EXPORTER_OTLP_TIMEOUT=PATIENT)
    assert done.stderr == ""
    spans = running.wait_for(lambda spans: {CLIENT, UNARY, names.BATCH} <= {span.name for span in spans})
    (call,) = [span for span in spans if span.name == CLIENT]
    trace = running.wait_for_trace(call.trace, CLIENT, UNARY, names.BATCH)
    assert parents(trace, UNARY) == [CLIENT]
    assert call.resource[names.SERVICE_NAME] == "altclip"
    assert the(trace, UNARY).resource[names.SERVICE_NAME] == "altclip-server"


def test_bulk_sends_a_span_of_every_call_where_the_variables_of_opentelemetry_say(
    traced: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"caption": f"row {n}"}) for n in range(30)))
    with collector() as own:
        command(
            traced,
            *("bulk", tmp_path / "in.jsonl", tmp_path / "out", "--text", "caption", "--tracing"),
            OTEL_EXPORTER_OTLP_ENDPOINT=own.endpoint,
            OTEL_EXPORTER_OTLP_TIMEOUT=PATIENT,
            OTEL_SERVICE_NAME="nightly",
        )
        spans = own.spans  # the last ones are sent before the command ends
    assert {span.resource[names.SERVICE_NAME] for span in spans} == {"nightly"}
    assert f"{CLIENT} m" in {span.name for span in spans}
    assert "row 1" not in str(spans)


def test_a_collector_that_is_away_is_told_in_a_line_and_changes_no_answer(traced: RunningServer) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = command(traced, "embed-text", "one", "--json", "--trace-endpoint", away)
    assert json.loads(done.stdout)
    assert done.stderr == "altclip: the collector did not take all spans\n"


def test_without_the_option_nothing_is_sent(traced: RunningServer) -> None:
    with collector() as own:
        command(traced, "embed-text", "one", OTEL_EXPORTER_OTLP_ENDPOINT=own.endpoint)
        assert own.spans == []
