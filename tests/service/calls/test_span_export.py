"""Who says what is sampled and who sends it: the settings, and the variables of OpenTelemetry."""

from __future__ import annotations

import dataclasses

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from altclip.tracing import names
from service.config.settings import Settings
from service.frontend.calls.span_export import Counted, open_export, resource, sampler
from worker.runtime.metrics import Metrics

SETTINGS = Settings(tracing="on", trace_endpoint="http://127.0.0.1:9", trace_ratio=0.25)


def test_the_ratio_of_the_settings_holds_for_callers_that_decide_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    chosen = sampler(SETTINGS)
    assert chosen is not None
    tracer = TracerProvider(chosen, shutdown_on_exit=False).get_tracer("test")
    taken = sum(tracer.start_span("call").is_recording() for _ in range(2000))
    assert 350 < taken < 650


def test_the_variable_of_opentelemetry_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracer = TracerProvider(sampler(SETTINGS), shutdown_on_exit=False).get_tracer("test")
    assert not tracer.start_span("call").is_recording()


def test_a_name_and_attributes_of_the_environment_come_before_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    assert resource(3).attributes[names.SERVICE_NAME] == "altclip-server"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "search")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging")
    found = resource(3).attributes
    assert found[names.SERVICE_NAME] == "search"
    assert found["deployment.environment"] == "staging"
    assert found[names.FRONTEND] == 3


async def test_a_variable_that_the_sdk_does_not_take_is_told_and_the_frontend_serves_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    assert open_export(dataclasses.replace(SETTINGS), 0, Metrics.local()) is None
    assert [getattr(record, "event", "") for record in caplog.records] == ["tracing_failed"]


def test_what_the_sdk_turns_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracer = TracerProvider(sampler(SETTINGS), shutdown_on_exit=False).get_tracer("test")
    assert not tracer.start_span("call").is_recording()


class Refusing(InMemorySpanExporter):
    """A collector that takes nothing, and at last raises."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = [SpanExportResult.SUCCESS, SpanExportResult.FAILURE]

    def export(self, spans: object) -> SpanExportResult:
        return self.answers.pop(0)  # IndexError when there is none left


def test_spans_are_counted_as_sent_or_lost_and_a_failure_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics.local()
    exporter = Counted(Refusing(), metrics)
    (span,) = [TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("call")]
    spans = [span] * 3
    results = [exporter.export(spans) for _ in range(3)]  # type: ignore[arg-type]
    assert results == [SpanExportResult.SUCCESS, SpanExportResult.FAILURE, SpanExportResult.FAILURE]
    assert (metrics.spans.value("sent"), metrics.spans.value("lost")) == (3, 6)
    assert [getattr(record, "event", "") for record in caplog.records] == ["spans_lost"]
