"""Traces of the real service, as a real collector gets them: two frontends, one worker, both transports."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from altclip import AsyncClient, Client, InvalidRequest
from altclip.tracing import names
from service.config.keys import make_key
from tests.e2e.collector import Collector, Seen, application_span, collector, parents, sending_to, the
from tests.server import RunningServer, start_server, until
from tests.service.running import pictures

UNARY = "altclip.v1.EmbeddingService/EmbedText"
STREAM = "altclip.v1.EmbeddingService/EmbedStream"
HTTP = "POST /v1/embeddings"
WORK = (names.TOKENIZE, names.QUEUE, names.INFERENCE, names.BATCH)
SERVER, CLIENT = 2, 3  # span kinds of OTLP


@dataclass
class Traced:
    """A service whose spans a collector gets, as does it those of this process."""

    server: RunningServer
    collector: Collector
    key: str

    def client(self, **options: Any) -> Client:
        return Client(self.server.grpc, api_key=self.key, tracing=True, **options)

    def post(self, body: object, **headers: str) -> dict[str, Any]:
        """The answer of /v1/embeddings to a call below the current span, on a connection of its own."""
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        request = urllib.request.Request(
            f"http://{self.server.http}/v1/embeddings",
            json.dumps(body).encode(),
            {
                "content-type": "application/json",
                "authorization": f"Bearer {self.key}",
                **carrier,
                **headers,
            },
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
            return answer


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    key, line = make_key("search")
    keys = Path(tmp_path_factory.mktemp("keys")) / "keys.txt"
    keys.write_text(line + "\n")
    with (
        collector() as running,
        sending_to(running),
        start_server(
            *("--model", "m=stub:dimension=8", "--frontends", "2", "--api-keys", str(keys)),
            *("--tracing", "on", "--trace-endpoint", running.endpoint, "--batch-tokens", "1000"),
            environment={"OTEL_BSP_SCHEDULE_DELAY": "50"},
        ) as server,
    ):
        yield Traced(server, running, key)


def unary(traced: Traced) -> None:
    with traced.client() as client:
        client.embed_text(["one", "two"])


def stream(traced: Traced) -> None:
    with traced.client() as client:
        assert len([*client.embed_stream(["one", "two", "three"])]) == 3


def http(traced: Traced) -> None:
    assert len(traced.post({"input": ["one", "two"]})["data"]) == 2


@pytest.mark.parametrize(
    ("call", "server_span", "between"),
    [
        (unary, UNARY, ["embeddings"]),
        (stream, STREAM, ["embeddings"]),
        (http, HTTP, []),
    ],
    ids=["grpc", "grpc stream", "http"],
)
def test_a_call_is_one_trace_from_the_program_to_the_batch_whichever_frontend_serves_it(
    traced: Traced, call: Callable[[Traced], None], server_span: str, between: list[str]
) -> None:
    frontends: set[int] = set()

    def served() -> list[Seen]:
        return [span for span in traced.collector.of(trace_id) if span.name == server_span]

    with application_span() as trace_id:
        # Each connection is a frontend's by chance: the kernel spreads them.
        for made in range(1, 61):
            call(traced)
            traced.collector.wait_for(lambda _: len(served()) >= made)  # noqa: B023 - it is called at once
            frontends = {span.resource[names.FRONTEND] for span in served()}
            if len(frontends) == 2:
                break
    assert frontends == {0, 1}
    traced.collector.wait_for_trace(trace_id, *WORK)
    spans = traced.collector.wait_for_whole(trace_id)
    assert [span.name for span in spans if not span.parent] == ["application"]
    calls = [span for span in spans if span.name == server_span]
    above = [server_span, *between, "application"]
    chunk = [names.CHUNK] if server_span == STREAM else []
    assert parents(spans, names.INFERENCE) == parents(spans, names.QUEUE) == [*chunk, *above]
    assert parents(spans, names.TOKENIZE) == [*chunk, *above]
    assert {span.kind for span in calls} == {SERVER}
    for name in (names.QUEUE, names.INFERENCE):
        assert len([span for span in spans if span.name == name]) >= len(calls)
    by_id = {span.id: span for span in spans}
    for span in spans:
        if span.parent and by_id[span.parent].kind != CLIENT:
            assert by_id[span.parent].start <= span.start <= span.end


def test_a_batch_tells_its_size_and_its_fill_and_is_linked_to_the_calls_in_it(traced: Traced) -> None:
    with application_span() as trace_id, traced.client() as client:
        client.embed_text(["four tokens in each", "four tokens of each"])
    spans = traced.collector.wait_for_trace(trace_id, "application", UNARY, *WORK)
    batch, inference = the(spans, names.BATCH), the(spans, names.INFERENCE)
    assert batch.attributes[names.BATCH_SIZE] == inference.attributes[names.BATCH_SIZE] == 2
    tokens = the(spans, UNARY).attributes[names.INPUT_TOKENS]
    assert inference.attributes[names.BATCH_FILL] == pytest.approx(tokens / 1000)
    assert inference.attributes[names.DEVICE] == "cpu"
    assert inference.links == [(trace_id, batch.id)]
    assert (trace_id, the(spans, UNARY).id) in batch.links
    assert abs(inference.start - batch.start) < 1e6  # a millisecond: the same, but for the clock's steps


def test_a_call_tells_its_model_items_and_status(traced: Traced) -> None:
    with application_span() as trace_id, traced.client() as client:
        client.embed_text(["a", "b", "c"], model="m", request_id="asked-for")
    spans = traced.collector.wait_for_trace(trace_id, "application", UNARY)
    ours, server = the(spans, "embeddings m"), the(spans, UNARY)
    assert ours.kind == CLIENT
    for span in (ours, server):
        assert (
            span.attributes.items()
            >= {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "altclip",
                "gen_ai.request.model": "m",
                "rpc.system.name": "grpc",
                "rpc.method": UNARY,
                "altclip.request_id": "asked-for",
            }.items()
        )
    assert (
        server.attributes.items()
        >= {
            "gen_ai.response.model": "m",
            "gen_ai.embeddings.dimension.count": 8,
            "rpc.response.status_code": "OK",
            "altclip.items": 3,
            "altclip.items.cached": 0,
            "altclip.caller": "search",
            "altclip.priority": "interactive",
        }.items()
    )
    assert server.attributes["gen_ai.usage.input_tokens"] > 3
    host, _, port = traced.server.grpc.rpartition(":")
    assert (ours.attributes["server.address"], ours.attributes["server.port"]) == (host, int(port))
    assert server.resource["service.name"] == "altclip-server"


def test_pictures_have_a_span_for_their_decoding(traced: Traced) -> None:
    with application_span() as trace_id, traced.client() as client:
        client.embed_image(pictures(3))
    method = "altclip.v1.EmbeddingService/EmbedImage"
    spans = traced.collector.wait_for_trace(trace_id, "application", method, names.DECODE)
    decode = the(spans, names.DECODE)
    assert decode.attributes == {names.ITEMS: 3}
    assert parents(spans, names.DECODE)[0] == method
    assert decode.end <= the(spans, names.INFERENCE).end


async def test_the_asyncio_client_is_part_of_the_trace_too(traced: Traced) -> None:
    options: dict[str, Any] = {"api_key": traced.key, "tracing": True}
    with application_span() as trace_id:
        async with AsyncClient(traced.server.grpc, **options) as client:
            await client.embed_text(["one"])
            assert [result.error async for result in client.embed_stream(["two"])] == [None]
    spans = traced.collector.wait_for_trace(trace_id, "application", UNARY, STREAM)
    above = ["embeddings", "application"]
    assert parents(spans, UNARY) == parents(spans, STREAM) == above


def test_a_call_in_several_parts_is_one_span_of_the_client(traced: Traced) -> None:
    with application_span() as trace_id, traced.client() as client:
        client.embed_text([f"text {number}" for number in range(600)])  # the server takes 256 at a time

    def parts() -> list[Seen]:
        return [span for span in traced.collector.of(trace_id) if span.name == UNARY]

    traced.collector.wait_for(lambda _: len(parts()) == 3)
    ours = the(traced.collector.of(trace_id), "embeddings")
    assert {span.parent for span in parts()} == {ours.id}


def test_a_call_that_fails_tells_why_and_never_in_whose_words(traced: Traced) -> None:
    with application_span() as trace_id, traced.client() as client, pytest.raises(InvalidRequest):
        client.embed_text([])
    spans = traced.collector.wait_for_trace(trace_id, "application", UNARY)
    ours, server = the(spans, "embeddings"), the(spans, UNARY)
    assert ours.failed
    assert not server.failed  # it is the caller's fault, and the caller's span says so
    for span in (ours, server):
        assert span.attributes["error.type"] == "INVALID_REQUEST"
        assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"


def test_no_span_holds_a_text_an_image_a_key_or_what_an_error_quotes(traced: Traced) -> None:
    secret = "Zanzibarnachtigall"
    picture = pictures(1)[0]
    with application_span() as trace_id, traced.client() as client:
        client.embed_text([secret, f"{secret} again"])
        client.classify([picture], [secret, "other"])
        [*client.embed_stream([secret, picture])]
        traced.post({"input": secret, "user": secret})
        with pytest.raises(Exception, match="Zanzibar"):
            client.embed_text(["x"], model=secret)
        with pytest.raises(urllib.error.HTTPError):
            traced.post({"input": [{"image": secret}]}, **{f"x-{secret}": secret})
    traced.collector.wait_for_trace(
        trace_id, "application", UNARY, STREAM, HTTP, "altclip.v1.EmbeddingService/ClassifyImage"
    )
    servers = [
        span for span in traced.collector.of(trace_id) if span.resource["service.name"] == "altclip-server"
    ]
    assert secret not in repr(servers)
    for raw in traced.collector.raw:
        assert traced.key.encode() not in raw
        assert picture[20:60] not in raw
    own = [span for span in traced.collector.of(trace_id) if secret in repr(span)]
    # The program's own span of the call for that model has the name that the program gave.
    assert {(span.name, span.kind) for span in own} == {(f"embeddings {secret}", CLIENT)}


def test_the_log_has_the_ids_of_the_call_s_span(traced: Traced) -> None:
    records = traced.server.logs.records
    with application_span() as trace_id, traced.client() as client, pytest.raises(InvalidRequest):
        client.embed_text([], request_id="find-me")
    spans = traced.collector.wait_for_trace(trace_id, UNARY)
    until(lambda: [each for each in records if each.get("request_id") == "find-me"], what="its line")
    (record,) = [each for each in records if each.get("request_id") == "find-me"]
    assert record["event"] == "call_refused"
    assert (record["trace_id"], record["span_id"]) == (trace_id, the(spans, UNARY).id)


def test_latencies_have_exemplars_in_openmetrics_and_nowhere_else(traced: Traced) -> None:
    with application_span() as trace_id:
        unary(traced)
        http(traced)
    traced.collector.wait_for_trace(trace_id, UNARY, HTTP)
    accept = {"accept": "application/openmetrics-text"}
    request = urllib.request.Request(f"http://{traced.server.ops}/metrics", headers=accept)
    with urllib.request.urlopen(request, timeout=60) as response:
        lines = [line for line in response.read().decode().splitlines() if trace_id in line]
    assert [line.partition("{")[0] for line in lines] == [
        "altclip_request_duration_seconds_bucket",
        "altclip_http_request_duration_seconds_bucket",
    ]
    assert "# {" not in traced.server.scrape()


def test_probes_and_unknown_paths_have_no_spans(traced: Traced) -> None:
    with application_span() as trace_id:
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        for path in ("/healthz", "/readyz", "/no/such/path"):
            request = urllib.request.Request(f"http://{traced.server.http}{path}", headers=carrier)
            try:
                urllib.request.urlopen(request, timeout=60).close()
            except urllib.error.HTTPError as error:
                error.close()
        http(traced)
    spans = traced.collector.wait_for_trace(trace_id, "application", HTTP)
    assert [span.name for span in spans if span.kind == SERVER] == [HTTP]


def test_a_caller_that_is_not_sampled_is_not_traced(traced: Traced) -> None:
    ids = trace.SpanContext(7, 7, is_remote=False, trace_flags=trace.TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(ids)):
        http(traced)
    with application_span() as later:
        http(traced)
    traced.collector.wait_for_trace(later, HTTP)
    assert traced.collector.of(f"{7:032x}") == []


def test_a_long_stream_has_a_bounded_number_of_spans(traced: Traced) -> None:
    with application_span() as trace_id, traced.client() as client:
        for _ in client.embed_stream(f"text {number}" for number in range(6000)):
            pass
    spans = traced.collector.wait_for_trace(trace_id, "application", STREAM)
    call = the(spans, STREAM)
    assert call.attributes[names.ITEMS] == 6000
    assert call.attributes[names.DROPPED_SPANS] > 0
    assert len([span for span in spans if span.name != names.BATCH]) <= 203
