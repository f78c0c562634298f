"""One JSON line on stderr per event, in every process of the service. Imports the standard library only.

    events = logs.get("supervisor")
    events.warning("child_ended", "it was killed", title="altclip-worker m cpu")
    {"ts": "2026-01-01T00:00:00.000Z", "level": "warning", "event": "child_ended", "message": …, "process": …}

`request_id` is added wherever the context has one, `trace_id` and `span_id` where the call is traced here or
its caller sent a trace's context. Texts and images are never logged, nor is anything else that a caller sent,
apart from names and sizes. An exception is therefore logged by its class and its stack, never by its message:
a message may quote what the code failed on ("could not convert string to float: …").

Below this is the standard library's logging: `logging.getLogger(__name__)` with `extra={…}` comes out in the
same form, and so do the warnings of libraries.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import threading
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

__all__ = ["LEVELS", "Log", "configure", "get", "request_id", "trace"]

LEVELS = ("debug", "info", "warning", "error")

#: The call that is being served, "" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

#: The ids of its trace and its span in hex digits, None without any.
trace: ContextVar[tuple[str, str] | None] = ContextVar("trace", default=None)

# These libraries log at every call, or log what this service logs itself.
_QUIETER = (
    "aiohttp.access",
    "asyncio",
    "huggingface_hub",
    "httpcore",
    "httpx",
    "PIL",
    "torch",
    "transformers",
    "urllib3",
)

_PATIENCE = 0.1
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class Log:
    """Events of one part of a process."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"altclip.{name}")

    def debug(self, event: str, message: str = "", **fields: Any) -> None:
        """Details for finding a bug."""
        self._log(logging.DEBUG, event, message, fields)

    def info(self, event: str, message: str = "", **fields: Any) -> None:
        """An expected change of state."""
        self._log(logging.INFO, event, message, fields)

    def warning(self, event: str, message: str = "", **fields: Any) -> None:
        """A failure that was handled."""
        self._log(logging.WARNING, event, message, fields)

    def error(
        self, event: str, message: str = "", *, error: BaseException | None = None, **fields: Any
    ) -> None:
        """A failure that an operator should look at. `error` adds its class and its stack."""
        self._log(logging.ERROR, event, message, fields, error)

    def _log(
        self, level: int, event: str, message: str, fields: dict[str, Any], error: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            exc_info = (type(error), error, error.__traceback__) if error is not None else None
            self._logger.log(level, message, exc_info=exc_info, extra={"event": event, "fields": fields})


def get(name: str) -> Log:
    """The log of a part, e.g. `get("supervisor")`."""
    return Log(name)


def configure(level: str, process: str) -> None:
    """Once, first thing in a process. level: one of LEVELS. process: its role in the process list."""
    handler = _Lines(process)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("altclip", "service", "worker"):
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("altclip.ready").setLevel(logging.INFO)  # at any level: someone waits for this line
    for name in _QUIETER:
        logging.getLogger(name).setLevel(logging.ERROR)
    # Handlers let nothing escape but a status; grpc logs an error whenever the caller did not wait for it.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    events = get("process")

    def uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            events.error("uncaught", "an exception ended the process", error=error.with_traceback(where))

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else ""
        events.error("uncaught_in_thread", "an exception ended a thread", error=args.exc_value, thread=name)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread


class _Lines(logging.Handler):
    """Writes whole lines. Drops and counts lines where a full pipe would block the process."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(2, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """stdlib's hook."""
        # Once a line was dropped, none waits until the pipe is read again.
        if not self._room(0.0 if self._dropped else _PATIENCE):
            self._dropped += 1
            return
        if self._dropped:
            lost, self._dropped = self._dropped, 0
            name = "altclip.logs"
            notice = logging.LogRecord(name, logging.WARNING, "", 0, "lines were lost", (), None)
            vars(notice).update(event="log_lines_lost", count=lost)
            self._write(self._render(notice))
        self._write(self._render(record))

    def _write(self, text: str) -> None:
        """In one system call, so that lines of several processes do not mix; very long ones in several."""
        line = (text + "\n").encode("utf-8", "backslashreplace")
        try:
            while line and self._room(_PATIENCE):
                line = line[os.write(2, line[: select.PIPE_BUF]) :]
        except OSError:
            pass  # standard error is closed: no reason to stop serving

    def _room(self, seconds: float) -> bool:
        """Whether PIPE_BUF bytes can be written without waiting."""
        try:
            return bool(self._poll.poll(seconds * 1000))
        except OSError:  # the process may have no descriptors
            return False

    def _render(self, record: logging.LogRecord) -> str:
        """Whoever logs does not fail by it: what JSON cannot hold is written as text."""
        values = self._values(record)
        try:
            return json.dumps(values, ensure_ascii=False, default=str, allow_nan=False)
        except Exception:
            return json.dumps({name: _text(value) for name, value in values.items()}, ensure_ascii=False)

    def _values(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values: dict[str, Any] = {
            "ts": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": _message(record),
            "process": self._process,
        }
        if call := request_id.get():
            values["request_id"] = call
        if ids := trace.get():
            values["trace_id"], values["span_id"] = ids
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = extra.pop("fields", {})
        for name, value in {**extra, **fields}.items():
            values.setdefault(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            values |= _exception(record.exc_info[1])
        return values


def _message(record: logging.LogRecord) -> str:
    """asyncio writes the exception, or a callback's arguments, into its message: those are left out."""
    try:
        message = record.getMessage()
    except Exception:  # its arguments do not fit; those of a library may hold anything
        return _text(record.msg)
    if record.name == "asyncio" and record.exc_info:
        return re.split(r"[\n(<:]", message, maxsplit=1)[0].strip()
    return message


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return type(value).__name__


def _exception(error: BaseException) -> dict[str, str]:
    """Fields for the log: `exception`, the class, and `traceback`, with the stacks of its causes first.

    What the system says of a failed call ("Address already in use") quotes nothing and is added.
    """
    chain: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append("".join(traceback.format_tb(current.__traceback__)) + _class_name(current))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return {"exception": _class_name(error), "traceback": "\n".join(reversed(chain))}


def _class_name(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: {os.strerror(error.errno)}"
    return name
