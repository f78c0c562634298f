"""The figures of the front page, and of the worksheet, are those that docs/benchmarks.md shows."""

from __future__ import annotations

import re

from benchmarks.published import read_kinds
from benchmarks.report import Row
from tests.docs.pages import ROOT

CPU, GPU = "amd-epyc-2-cores-avx2", "nvidia-h200-16-cores"
CPUS = (CPU, "amd-epyc-2-cores-avx2-avx512f-avx-vnni-avx512-vnni-avx512-bf16")
"""In the order of the columns."""
SERVICE = "service, full size"


def measured(machine: str, what: str, against: str) -> Row:
    (kind,) = [kind for kind in read_kinds() if kind.name == machine]
    (row,) = [row for row in kind.rows if row.what == what and row.against.startswith(against)]
    return row


def of_each(what: str, against: str) -> list[Row]:
    return [measured(machine, what, against) for machine in CPUS]


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
    assert cells("README.md", "texts a second") == [
        f"{fact(engine, 'texts/s'):.1f}, {engine.median:.1f} times transformers with padding"
        for engine in of_each("engine, text, packed", "transformers, padded in order of arrival")
    ]
    best = of_each(f"{SERVICE}, texts/s", "the best of 5 other servers: infinity")
    ours = of_each(f"{SERVICE}, texts/s", "infinity")
    assert cells("README.md", "texts a second through the service") == [
        f"{fact(row, 'texts/s'):.1f}, {_in_texts(first, row):.1f} times the fastest of five other servers"
        for first, row in zip(best, ours, strict=True)
    ]
    best = of_each(f"{SERVICE}, images/s", "the best of 5 other servers")
    ours = [
        measured(machine, f"{SERVICE}, images/s", first.against.split(": ")[1])
        for machine, first in zip(CPUS, best, strict=True)
    ]
    assert cells("README.md", "images a second through the service") == [
        f"{fact(row, 'images/s'):.2f}, {first.median:.1f} times the fastest of five other servers"
        for first, row in zip(best, ours, strict=True)
    ]
    assert cells("README.md", "calls a second of one frontend, one text each, without a model") == [
        f"{fact(calls, 'ours, calls/s'):,.0f}, {calls.median:.1f} of those of a gRPC server that only echoes"
        for calls in of_each("unary EmbedText, stub encoder, 32 in flight, calls/s", "a bare grpc.aio echo")
    ]


def _in_texts(best: Row, ours: Row) -> float:
    """Infinity cuts texts, and rates are counted in tokens: in texts it is nearer."""
    return best.median * fact(ours, "cut by infinity to") / fact(ours, "tokens a text")


def test_the_front_page_tells_what_was_measured_on_a_device() -> None:
    texts, images = "CUDA engine, bfloat16, texts of mixed lengths", "CUDA engine, bfloat16, images"
    peaks = [measured(GPU, what, "matrix-multiply peak") for what in (texts, images)]
    first = measured(GPU, texts, "transformers in bfloat16, 64 a batch, padded in order of arrival")
    second = measured(GPU, images, "transformers in bfloat16")
    assert cells("README.md", "texts and images a second") == [
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
