"""Spans leave the service: a drain sends the last ones, and a collector that is away harms no call."""

from __future__ import annotations

from altclip import Client
from tests.e2e.collector import collector
from tests.server import free_port, start_server

UNARY = "altclip.v1.EmbeddingService/EmbedText"


def test_a_drain_sends_the_last_spans() -> None:
    with collector() as running:
        with start_server(
            *("--model", "m=stub:dimension=8", "--tracing", "on"),
            environment={
                "OTEL_BSP_SCHEDULE_DELAY": "600000",
                "OTEL_EXPORTER_OTLP_ENDPOINT": running.endpoint,
            },
        ) as server:
            with Client(server.grpc) as client:
                client.embed_text(["one"])
            assert server.stop() == 0
        assert UNARY in {span.name for span in running.spans}


def test_a_collector_that_is_away_costs_no_call_and_is_told_in_log_and_metrics() -> None:
    away = f"127.0.0.1:{free_port()}"
    with start_server(
        *("--model", "m=stub:dimension=8", "--tracing", "on", "--trace-endpoint", f"http://{away}"),
        environment={
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_BSP_MAX_QUEUE_SIZE": "16",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        },
    ) as server:
        with Client(server.grpc) as client:
            for number in range(200):
                client.embed_text([f"text {number}"])
            record = server.logs.wait_for("spans_lost")
            assert record["level"] == "warning"
            assert server.metric("altclip_spans_total", outcome="lost") > 0
            assert server.metric("altclip_requests_total", code="OK") == 200
            client.embed_text(["still here"])
        assert server.stop() == 0
