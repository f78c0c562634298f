"""`altclip evaluate`: reads the data, embeds it through the service, measures, reports.

DATA ─ folder | table ─▶ Dataset ─ EmbedStream ─▶ stores ─ retrieval | classification ─▶ table, JSON,
picture
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

from altclip.bulk.embedding import Service
from altclip.client import Client
from altclip.datasets.dataset import Dataset, Request
from altclip.datasets.folder import read_folder
from altclip.datasets.items import DataError
from altclip.datasets.table import SUFFIXES, read_table
from altclip.errors import Unavailable
from altclip.evaluate import chart, classification, retrieval
from altclip.evaluate.arguments import languages_of
from altclip.evaluate.evaluation import Evaluation, safe_name
from altclip.evaluate.report import render
from altclip.evaluate.results import Report, Result
from altclip.output import whole_file
from altclip.printing import json_text, say, say_json, tell
from altclip.results import Model

REVISION_SECONDS = 120.0
"""How long to wait for a model that is loading, or whose checksum is being computed."""


def run(client: Client, arguments: argparse.Namespace) -> int:
    """Evaluates as the arguments say; returns the exit status. Raises DataError, OSError and AltClipError."""
    try:
        service = Service(client, _ready_model(client, arguments.model))
        request = _request(arguments, service.model)
        report = evaluate(service, request, _read(request), arguments)
    except KeyboardInterrupt:
        tell("\naltclip: interrupted; the same command goes on from here")
        raise
    return _write(report, arguments)


def evaluate(service: Service, request: Request, dataset: Dataset, arguments: argparse.Namespace) -> Report:
    """Measures the data set. Raises DataError and AltClipError."""
    source = str(request.path.resolve())
    split = request.split if request.path.is_dir() else ""
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.callback(service.ended.set)
        evaluation = Evaluation(
            service,
            dataset,
            source=f"{source} {split}".rstrip(),
            work=arguments.work,
            shown=None if arguments.quiet else sys.stderr,
            stack=stack,
        )
        evaluation.leave_out(dataset.left_out)
        results: list[Result]
        if dataset.task == "retrieval":
            results = list(retrieval.measure(evaluation))
        else:
            results = list(classification.measure(evaluation, arguments.prompts, notes))
    # The weights may have changed while nothing was being sent.
    service.check(service.client.get_model(service.model.name).revision)
    if not any(each.images for each in results):
        out = [*evaluation.left_out.values()]
        raise DataError(f"nothing is left to be measured: {len(out)} left out, the first is {out[0]}")
    model = service.model
    return Report(
        data=dataset.name,
        path=source,
        split=split,
        task=dataset.task,
        model={
            "name": model.name,
            "source": model.source,
            "revision": model.revision,
            "weights_sha256": model.weights_sha256,
            "dimension": model.dimension,
            "dtype": model.dtype,
            "device": model.device,
        },
        images=len(dataset.pictures) + len(dataset.left_out),
        left_out=[dataclasses.asdict(each) for each in evaluation.left_out.values()],
        results=results,
        notes=notes,
    )


def _request(arguments: argparse.Namespace, model: Model) -> Request:
    return Request(
        path=arguments.data,
        split=arguments.split,
        task=None if arguments.task == "auto" else arguments.task,
        languages=languages_of(arguments.language),
        known=model.languages,
        images=arguments.images,
        classnames=dict(arguments.classnames),
        templates=dict(arguments.templates),
    )


def _read(request: Request) -> Dataset:
    if request.path.is_dir():
        return read_folder(request)
    if not request.path.exists():
        raise DataError(f"{request.path}: no such file or folder")
    if request.path.suffix not in SUFFIXES:
        raise DataError(f"{request.path}: neither a folder nor one of {', '.join(sorted(SUFFIXES))}")
    return read_table(request)


def _ready_model(client: Client, name: str, sleep: Callable[[float], object] = time.sleep) -> Model:
    """The model, once its revision is known. Raises AltClipError."""
    end = time.monotonic() + REVISION_SECONDS
    told = False
    while not (model := client.get_model(name)).revision or not model.ready:
        # Rows are kept by revision: without one they could be taken for those of other weights.
        wanting = "its revision is not known" if model.ready else "it is not ready"
        if time.monotonic() > end:
            seconds = f"{REVISION_SECONDS:.0f} s"
            raise Unavailable(f"the model {model.name!r} cannot be evaluated: {wanting}, after {seconds}")
        if not told:
            tell(f"waiting for the model {model.name!r}: {wanting}")
            told = True
        sleep(0.5)
    return model


def _write(report: Report, arguments: argparse.Namespace) -> int:
    """Prints the report and writes its files; returns the exit status. Raises OSError and ValueError."""
    model = report.model
    name = safe_name(f"{report.data}-{report.task}-{model['name']}-{model['revision']}")
    file: Path = arguments.output or arguments.work / f"{name}.json"
    picture: Path = arguments.picture or file.with_suffix(".png")
    values = dataclasses.asdict(report)
    if arguments.json:
        say_json(values, indent=2)
    else:
        say(render(report))
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as written:
        written.write(f"{json_text(values, 2, 'utf-8')}\n".encode())
    tell(f"written: {file}")
    if not chart.can_draw():
        tell(f"altclip: {chart.MISSING}")
        return 0
    picture.parent.mkdir(parents=True, exist_ok=True)
    chart.draw(report, picture)
    tell(f"written: {picture}")
    return 0
