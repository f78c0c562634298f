"""The lines of OpenAI's files: requests of a batch file, and what is answered to them. No I/O but reading.

{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {…}}
  ─▶ {"id": "batch_req_…", "custom_id": "a", "response": {"status_code", "request_id", "body"}, "error": null}
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from altclip.datasets.items import DataError
from altclip.datasets.text import LONGEST_LINE, decode, json_object


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One line of a batch file. url: the path that is posted to."""

    custom_id: str
    url: str
    body: dict[str, Any]

    @property
    def id(self) -> str:
        """The id of its answer: the same one whenever it is made."""
        return f"batch_req_{hashlib.sha256(self.custom_id.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"

    def sent(self) -> bytes:
        """What is posted: the body, as bulk work unless it says otherwise."""
        return json.dumps({"priority": "bulk", **self.body}).encode()


def read_requests(path: Path) -> Iterator[BatchRequest]:
    """The requests of a file, which may be compressed with gzip. Raises DataError that names the line."""
    try:
        with _opened(path) as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                where = f"{path} line {number}"
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{where}: longer than {LONGEST_LINE >> 20} MiB")
                text = decode(line, str(path), number)
                if text.strip():
                    yield _request(text, where)
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole compressed file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def count_requests(path: Path) -> int:
    """Checks every line of a batch file. Raises DataError, also where two have one `custom_id`."""
    seen: set[bytes] = set()
    for request in read_requests(path):
        # The hash, so that long ids take no memory.
        key = hashlib.blake2b(request.custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in seen:
            raise DataError(f"{path}: two requests have the custom_id {request.custom_id!r}")
        seen.add(key)
    return len(seen)


def answer_line(request: BatchRequest, status: int, request_id: str, body: Any) -> bytes:
    """The line of `output.jsonl`, or with a status of an error that of `errors.jsonl`."""
    response = {"status_code": status, "request_id": request_id, "body": body}
    line = {"id": request.id, "custom_id": request.custom_id, "response": response, "error": None}
    return f"{json.dumps(line)}\n".encode()


def is_sendable(path: str) -> bool:
    """Whether a path may stand in an HTTP request as it is: printable ASCII without spaces."""
    return all("!" <= character <= "~" for character in path)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if path.suffix.lower() == ".gz":
            with gzip.open(file, "rb") as stream:
                yield cast(IO[bytes], stream)
        else:
            yield file


def _request(text: str, where: str) -> BatchRequest:
    found = json_object(text, where)
    custom_id, url, body = found.get("custom_id"), found.get("url"), found.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        raise DataError(f"{where}: custom_id must be a string with something in it")
    if found.get("method") != "POST":
        raise DataError(f"{where}: method must be POST")
    if not isinstance(url, str) or not url.startswith("/") or not is_sendable(url):
        raise DataError(f"{where}: url must be a path such as /v1/embeddings")
    if not isinstance(body, dict):
        raise DataError(f"{where}: body must be a JSON object")
    return BatchRequest(custom_id, url, body)
