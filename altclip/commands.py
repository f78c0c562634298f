"""What each command of `altclip` does: a function of the client and the parsed arguments that gives the exit
status.

Answers go to standard output, as a table or with `--json` as JSON.
"""

from __future__ import annotations

import contextlib
import json
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from altclip.client import Client
from altclip.datasets.items import DataError
from altclip.datasets.text import decode, number_lines, split_lines
from altclip.errors import UnreadableInput
from altclip.inputs import ItemSource
from altclip.npy import MatrixFile
from altclip.output import whole_file
from altclip.printing import say, say_json, shortened, table, tell
from altclip.results import Floats, ImageEmbeddings, StreamResult, TextEmbeddings
from altclip.streams.ledger import StreamInput
from altclip.version import VERSION, mismatch

DONE, FAILED, TRY_LATER = 0, 1, 3
TEXT_COLUMNS = 40


def embed_text(client: Client, arguments: Namespace) -> int:
    """Embeds the texts of the command line, or the lines of standard input."""
    with _output(arguments) as file:
        texts = arguments.texts or _lines_of_input()
        result = client.embed_text(
            texts, encoding=arguments.encoding, truncation=arguments.truncation, **_common(arguments)
        )
        _write_matrix(file, result)
    extra = {"token_counts": result.token_counts, "truncated": result.truncated}
    counts = [f"{n}{'!' if i in result.truncated else ''}" for i, n in enumerate(result.token_counts)]
    _show_embeddings(result, arguments, {"text": texts, "tokens": counts}, extra)
    if result.truncated and not arguments.json:
        say("! cut to the model's limit")
    return DONE


def embed_image(client: Client, arguments: Namespace) -> int:
    """Embeds picture files."""
    with _output(arguments) as file:
        result = client.embed_image(
            arguments.images,
            encoding=arguments.encoding,
            orientation=arguments.orientation,
            **_common(arguments),
        )
        _write_matrix(file, result)
    _show_embeddings(result, arguments, {"image": [str(path) for path in arguments.images]}, {})
    return DONE


def similarity(client: Client, arguments: Namespace) -> int:
    """Scores queries against candidates."""
    queries: list[ItemSource] = arguments.queries or []
    candidates: list[ItemSource] = arguments.candidates or []
    if not queries or not candidates:
        raise ValueError("a comparison needs a --query or --query-image, and a --text or --image")
    result = client.similarity(
        queries,
        candidates,
        score=arguments.score,
        top_k=arguments.top_k,
        orientation=arguments.orientation,
        **_common(arguments),
    )
    indices = result.indices if result.indices is not None else [range(len(candidates))] * len(queries)
    if arguments.json:
        rows = [
            [
                {"index": int(i), "candidate": str(candidates[i]), "score": _number(s)}
                for i, s in zip(order, scores, strict=True)
            ]
            for order, scores in zip(indices, result.scores, strict=True)
        ]
        say_json(_answer(result) | {"logit_scale": result.logit_scale, "rows": rows})
        return DONE
    lines = [
        (_name(query) if place == 0 else "", _name(candidates[i]), f"{score:.4f}")
        for query, order, scores in zip(queries, indices, result.scores, strict=True)
        for place, (i, score) in enumerate(zip(order, scores, strict=True))
    ]
    _say_all(table(("query", "candidate", arguments.score), lines, right=[2]))
    return DONE


def classify(client: Client, arguments: Namespace) -> int:
    """Classifies picture files into the given labels."""
    result = client.classify(
        arguments.images,
        arguments.labels,
        language=arguments.language,
        templates=arguments.templates or (),
        top_k=arguments.top_k or len(arguments.labels),
        orientation=arguments.orientation,
        **_common(arguments),
    )
    if arguments.json:
        results = [
            {"image": str(path), "labels": [asdict(score) for score in scores]}
            for path, scores in zip(arguments.images, result.results, strict=True)
        ]
        say_json(_answer(result) | {"results": results})
        return DONE
    lines = [
        (_name(path) if place == 0 else "", score.label, f"{score.probability:.1%}")
        for path, scores in zip(arguments.images, result.results, strict=True)
        for place, score in enumerate(scores)
    ]
    _say_all(table(("image", "label", "probability"), lines, right=[2]))
    return DONE


def models(client: Client, arguments: Namespace) -> int:
    """Lists the models of the server."""
    found = client.list_models(timeout=arguments.timeout)
    if arguments.json:
        say_json([asdict(model) for model in found])
        return DONE
    header = ("model", "ready", "source", "revision", "languages", "dimension", "device", "dtype", "aliases")
    rows = [
        (
            model.name,
            "yes" if model.ready else "no",
            model.source,
            model.revision or "-",
            " ".join(model.languages),
            str(model.dimension),
            model.device,
            model.dtype,
            " ".join(model.aliases) or "-",
        )
        for model in found
    ]
    _say_all(table(header, rows, right=[5]))
    return DONE


def show_versions(client: Client, arguments: Namespace) -> int:
    """Tells the client's version and the server's; a warning on standard error says where they do not fit."""
    server = client.server_version(timeout=arguments.timeout)
    if arguments.json:
        say_json({"client": VERSION, "server": server})
    else:
        say(f"client {VERSION}\nserver {server or '-'} at {arguments.address}")
    if problem := mismatch(server):
        tell(f"altclip: {problem}")
    return DONE


def health(client: Client, arguments: Namespace) -> int:
    """Tells whether the server answers; with `--wait` returns when it does."""
    if arguments.wait is not None:
        client.wait_until_ready(arguments.model, timeout=arguments.wait)
    status = client.health(arguments.model, timeout=arguments.timeout)
    if arguments.json:
        say_json({"status": status})
    else:
        say(status)
    return DONE if status == "SERVING" else TRY_LATER


def embed_stream(client: Client, arguments: Namespace) -> int:
    """Embeds JSON lines of standard input as they come."""
    began, done, failed = time.monotonic(), 0, 0
    matrix = MatrixFile(arguments.output) if arguments.output else None
    try:
        results = client.embed_stream(
            (_stream_item(number, line) for number, line in number_lines(_standard_input())),
            model=arguments.model,
            encoding=arguments.encoding,
            truncation=arguments.truncation,
            orientation=arguments.orientation,
            window=arguments.window,
        )
        with contextlib.closing(results):
            for result in results:
                done += 1
                failed += result.error is not None
                say_json(_stream_line(result, matrix))
    except BaseException:
        if matrix:
            rows, path = matrix.keep()
            tell(f"altclip: ended early: {f'{rows} rows are in {path}' if path else 'nothing was written'}")
        raise
    if matrix:
        matrix.commit()
    seconds = time.monotonic() - began
    tell(f"{done} items in {seconds:.1f} s ({done / max(seconds, 1e-9):.0f}/s), {failed} failed")
    return FAILED if failed else DONE


def _lines_of_input() -> list[str]:
    with _standard_input() as stream:
        return split_lines(decode(stream.read(), "standard input"))


def _standard_input() -> IO[bytes]:
    # A reader of our own: the thread that waits for input must not hold the lock of `sys.stdin` at exit.
    return open(0, "rb", closefd=False)


def _stream_item(number: int, line: bytes) -> StreamInput:
    """An item of a JSON line; a line that is none becomes that item's error."""
    identity: Any = None
    where = f"standard input line {number}"
    try:
        given = json.loads(decode(line, "standard input", number))
        if isinstance(given, dict):
            identity = given.get("id")
        match given:
            case {"text": str(text)}:
                return identity, text
            case {"image": str(path)}:
                return identity, Path(path)
        raise ValueError('a line is {"id": …, "text": "…"} or {"id": …, "image": "FILE"}')
    except DataError as error:
        return identity, UnreadableInput(str(error), reason=UnreadableInput.reason_here)
    except (ValueError, RecursionError) as error:
        return identity, UnreadableInput(f"{where}: {error}", reason=UnreadableInput.reason_here)


def _stream_line(result: StreamResult, matrix: MatrixFile | None) -> dict[str, Any]:
    line: dict[str, Any] = {"id": result.id, "index": result.index}
    if result.error is not None:
        return line | {"error": {"reason": result.error.reason, "message": result.error.message}}
    line |= {"row": matrix.append(result.vector)} if matrix else {"vector": _numbers(result.vector)}
    if result.token_count:
        line["token_count"] = result.token_count
    return line | {"truncated": True} if result.truncated else line


def _show_embeddings(
    result: ImageEmbeddings | TextEmbeddings,
    arguments: Namespace,
    columns: dict[str, Sequence[str]],
    extra: dict[str, Any],
) -> None:
    if arguments.json:
        vectors = {} if arguments.output else {"vectors": [_numbers(row) for row in result.vectors]}
        say_json(_answer(result) | extra | vectors)
        return
    rows = [
        (*(shortened(column[i], TEXT_COLUMNS) for column in columns.values()), _glance(vector))
        for i, vector in enumerate(result.vectors)
    ]
    _say_all(table((*columns, f"embedding ({result.embeddings.dimension})"), rows))


def _output(arguments: Namespace) -> AbstractContextManager[IO[bytes] | None]:
    """The file of `--output`. It is opened before the work begins, so that a wrong name costs none."""
    return whole_file(arguments.output) if arguments.output else contextlib.nullcontext()


def _write_matrix(file: IO[bytes] | None, result: ImageEmbeddings) -> None:
    if file is not None:
        np.save(file, result.vectors, allow_pickle=False)


def _common(arguments: Namespace) -> dict[str, Any]:
    return {"model": arguments.model, "timeout": arguments.timeout}


def _answer(result: Any) -> dict[str, Any]:
    return {"model": result.model, "revision": result.revision}


def _say_all(lines: Iterator[str] | list[str]) -> None:
    say("\n".join(lines))


def _name(item: object) -> str:
    return shortened(item.name if isinstance(item, Path) else str(item), TEXT_COLUMNS)


def _glance(vector: Floats) -> str:
    return " ".join(f"{value:+.3f}" for value in vector[:4]) + (" …" if len(vector) > 4 else "")


def _number(value: np.float32) -> float:
    return float(str(value))  # the fewest digits that give the same float32


def _numbers(vector: Floats) -> list[float]:
    return [_number(value) for value in vector]
