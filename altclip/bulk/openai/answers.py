"""The lines of `output.jsonl` and `errors.jsonl`: read again, and put into the order of the requests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altclip.datasets.items import DataError


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One line. content: as it stands in the file, with its end. body: what the service answered."""

    custom_id: str
    failed: bool
    body: Any
    content: bytes


def read_answers(path: Path) -> Iterator[AnswerLine]:
    """The lines of a file until one that is not whole."""
    with path.open("rb") as file:
        for content in file:
            if not content.endswith(b"\n"):
                return
            try:
                found = json.loads(content)
                response = found["response"]
                status, body = response["status_code"], response["body"]
                line = AnswerLine(found["custom_id"], not 200 <= status < 300, body, content)
            except (ValueError, TypeError, KeyError):
                return
            yield line


def in_order(
    requests: Iterable[str], retried: Iterator[AnswerLine], earlier: Sequence[Iterator[AnswerLine]]
) -> Iterator[AnswerLine]:
    """The answers in the order of the requests' ids: that of a further try, where there is one, and else the
    earlier one. All are in this order already. Raises DataError where a request has none."""
    files = [retried, *earlier]
    heads = [next(file, None) for file in files]
    for custom_id in requests:
        found: AnswerLine | None = None
        for n, head in enumerate(heads):
            if head is not None and head.custom_id == custom_id:
                found = found or head
                heads[n] = next(files[n], None)
        if found is None:
            raise DataError(f"the request {custom_id!r} has no answer: --fresh begins anew")
        yield found
