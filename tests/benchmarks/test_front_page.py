"""The figures of the front page, and of the worksheet, are those that docs/benchmarks.md shows."""

from __future__ import annotations

import re

from benchmarks.published import read_kinds
from benchmarks.report import Row
from tests.docs.pages import ROOT

CPU, GPU = "amd-epyc-2-cores-avx2", "nvidia-h200-16-cores"
SERVICE = "service, full size"


def measured(machine: str, what: str, against: str) -> Row:
    (kind,) = [kind for kind in read_kinds() if kind.name == machine]
    (row,) = [row for row in kind.rows if row.what == what and row.against.startswith(against)]
    return row


def fact(row: Row, name: str) -> float:
    return float(row.facts[name])


def cells(page: str, beginning: str) -> list[str]:
    """Of the row of a page's table whose cells begin so."""
    (line,) = re.findall(rf"^\| {re.escape(beginning)} \| (.*) \|$", (ROOT / page).read_text(), re.MULTILINE)
    return [str(cell) for cell in line.split(" | ")]


def told(*numbers: float) -> str:
    """Large numbers as people say them."""
    return " and ".join(f"{round(number, -2):,.0f}" for number in numbers)


def test_the_front_page_tells_what_was_measured_on_processors() -> None:
    engine = measured(CPU, "engine, text, packed", "transformers, padded in order of arrival")
    assert cells("README.md", "texts a second, two CPU cores, float32") == [
        f"{fact(engine, 'texts/s'):.1f}",
        f"{engine.median:.1f} times transformers with padding",
    ]
    best = measured(CPU, f"{SERVICE}, texts/s", "the best of 5 other servers: infinity")
    ours = measured(CPU, f"{SERVICE}, texts/s", "infinity")
    # It cuts texts, and rates are counted in tokens: in texts it is nearer.
    times = best.median * fact(ours, "cut by infinity to") / fact(ours, "tokens a text")
    assert cells("README.md", "the same, through the service") == [
        f"{fact(ours, 'texts/s'):.1f}",
        f"{times:.1f} times the fastest of five other servers",
    ]
    images = measured(CPU, f"{SERVICE}, images/s", "infinity")
    assert round(images.median, 1) == 1
    assert cells("README.md", "images a second through the service, two CPU cores") == [
        f"{fact(images, 'images/s'):.2f}",
        "as fast as the fastest of five other servers",
    ]
    calls = measured(CPU, "unary EmbedText, stub encoder, 32 in flight, calls/s", "a bare grpc.aio echo")
    assert round(calls.median, 1) == 0.5
    assert cells("README.md", "calls a second of one frontend, one text each, without a model") == [
        f"{fact(calls, 'ours, calls/s'):.0f}",
        "half of a gRPC server that only echoes",
    ]


def test_the_front_page_tells_what_was_measured_on_a_device() -> None:
    texts, images = "CUDA engine, bfloat16, texts of mixed lengths", "CUDA engine, bfloat16, images"
    peaks = [measured(GPU, what, "matrix-multiply peak") for what in (texts, images)]
    first = measured(GPU, texts, "transformers in bfloat16, 64 a batch, padded in order of arrival")
    second = measured(GPU, images, "transformers in bfloat16")
    assert cells("README.md", "texts and images a second, one NVIDIA H200, bfloat16") == [
        told(fact(peaks[0], "texts/s"), fact(peaks[1], "images/s")),
        f"{first.median:.0f} and {second.median:.1f} times transformers",
    ]


def test_the_worksheet_counts_with_what_was_measured() -> None:
    page = "docs/operations.md"
    ours = measured(CPU, f"{SERVICE}, texts/s", "infinity")
    images = measured(CPU, f"{SERVICE}, images/s", "infinity")
    *_, texts = cells(page, "C | texts a second of one pod at its limit")
    assert texts.split()[0] == f"{fact(ours, 'texts/s'):.0f}"
    assert cells(page, "D | images a second of one pod at its limit")[-1] == f"{fact(images, 'images/s'):.2f}"
