"""One process's page of metrics."""

from __future__ import annotations

import json
import os

import pytest

from worker.runtime import memory
from worker.runtime.metric_labels import MODALITIES, Layout
from worker.runtime.metrics import Metrics

METHODS = ("EmbedText", "EmbedImage")
CODES = ("OK", "UNAVAILABLE", "INTERNAL")
LAYOUT = Layout(
    models=("a", "b"), devices=("cpu", "cuda:0"), workers=3, version="1", methods=METHODS, codes=CODES
)

# As the public contract names them.
CONTRACT = {
    "altclip_requests_total": ("method", "code"),
    "altclip_request_duration_seconds": ("method", "outcome"),
    "altclip_items_total": ("model", "modality", "outcome"),
    "altclip_queue_depth": ("model", "modality"),
    "altclip_queue_wait_seconds": ("model", "modality", "priority"),
    "altclip_batch_size": ("model", "modality"),
    "altclip_batch_tokens": ("model",),
    "altclip_batch_duration_seconds": ("model", "modality"),
    "altclip_cache_lookups_total": ("result",),
    "altclip_worker_up": ("model", "device"),
    "altclip_worker_restarts_total": ("model", "device"),
    "altclip_last_batch_timestamp_seconds": ("model", "device"),
    "altclip_oldest_inflight_seconds": ("model", "device"),
    "altclip_build_info": ("version",),
}


def test_the_table_holds_the_series_of_the_contract() -> None:
    shown = {series.name: series.labels for _, series in Metrics.table() if not series.hidden}
    assert shown.items() >= CONTRACT.items()


def test_every_shown_series_has_a_help_text() -> None:
    assert [series.name for _, series in Metrics.table() if not series.hidden and not series.help] == []


def test_no_two_label_tuples_share_a_cell() -> None:
    metrics = Metrics.local(LAYOUT)
    taken = [
        cell
        for attribute, series in Metrics.table()
        for first in getattr(metrics, attribute).first.values()
        for cell in range(first, first + series.width)
    ]
    assert sorted(taken) == list(range(len(metrics.cells)))


def test_the_cross_product_of_all_labels_exists_from_the_start() -> None:
    metrics = Metrics.local(LAYOUT)
    assert len(metrics.requests.first) == len(METHODS) * len(CODES)
    assert len(metrics.items.first) == 2 * len(MODALITIES) * 3
    assert set(metrics.worker_up.first) == {("a", "cpu"), ("a", "cuda:0"), ("b", "cpu"), ("b", "cuda:0")}


def test_a_counter_counts() -> None:
    metrics = Metrics.local(LAYOUT)
    metrics.requests.inc("EmbedText", "OK")
    metrics.requests.inc("EmbedText", "OK", by=2)
    assert metrics.requests.value("EmbedText", "OK") == 3
    assert metrics.requests.value("EmbedText", "INTERNAL") == 0


def test_a_histogram_puts_a_bound_itself_into_its_bucket() -> None:
    metrics = Metrics.local(LAYOUT)
    for value in (1.0, 1.5, 2.0, 10_000.0):
        metrics.batch_size.observe(value, "a", "text")
    first = metrics.batch_size.first["a", "text"]
    assert list(metrics.batch_size.cells[first : first + 3]) == [1, 2, 0]
    assert metrics.batch_size.value("a", "text") == 4
    assert metrics.batch_size.cells[first + metrics.batch_size.series.width - 1] == 10_004.5


def test_the_same_value_can_be_observed_several_times_at_once() -> None:
    metrics = Metrics.local(LAYOUT)
    metrics.batch_size.observe(3.0, "a", "text", times=4)
    first = metrics.batch_size.first["a", "text"]
    assert metrics.batch_size.value("a", "text") == 4
    assert metrics.batch_size.cells[first + metrics.batch_size.series.width - 1] == 12


def test_a_label_value_out_of_the_layout_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Metrics.local(LAYOUT).requests.inc("EmbedText", "FINE")


def test_two_holders_of_a_page_see_the_same_cells() -> None:
    descriptor = memory.create("test", Metrics.size(LAYOUT))
    writer, reader = (Metrics(LAYOUT, memory.attach(descriptor)) for _ in range(2))
    os.close(descriptor)
    writer.items.inc("b", "image", "failed")
    assert reader.items.value("b", "image", "failed") == 1


def test_the_layout_crosses_a_process_border_as_json() -> None:
    assert Layout.from_dict(json.loads(json.dumps(LAYOUT.to_dict()))) == LAYOUT


def test_a_layout_with_the_keys_of_thousands_fits_the_message_that_starts_a_process() -> None:
    layout = Layout(models=("m",), devices=("cpu",), callers=tuple(f"{n:064}" for n in range(30_000)))
    told = json.dumps(layout.to_dict())
    assert len(told) < 100_000, "Linux takes 425,952 bytes, where nobody has changed that"
    there = Layout.from_dict(json.loads(told))
    assert there.values("caller") == layout.values("caller")
    assert Metrics.size(there) == Metrics.size(layout)
