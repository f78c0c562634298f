"""JSON lines on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PREAMBLE = (
    "from worker.runtime import logs\nlogs.configure('info', 'altclip-test')\nevents = logs.get('test')\n"
)


def lines_of(code: str) -> list[dict[str, Any]]:
    """The records that a process logs."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True, timeout=120, check=False
    )
    return [json.loads(line, parse_constant=_refuse) for line in done.stderr.splitlines()]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_an_event_is_one_line_with_its_fields() -> None:
    (record,) = lines_of("events.info('ready', 'serving', grpc='h:1')")
    assert record.pop("ts").endswith("Z")
    assert record == {
        "level": "info",
        "event": "ready",
        "message": "serving",
        "process": "altclip-test",
        "grpc": "h:1",
    }


def test_a_field_cannot_replace_what_every_line_has() -> None:
    (record,) = lines_of("events.info('ready', **{'process': 'x', 'ts': 'y'})")
    assert record["process"] == "altclip-test"
    assert record["ts"] != "y"


def test_a_line_carries_the_request_id_of_its_call() -> None:
    first, second = lines_of("events.info('a')\nlogs.request_id.set('r-1')\nevents.info('b')")
    assert "request_id" not in first
    assert second["request_id"] == "r-1"


def test_a_traceback_stays_within_its_line() -> None:
    code = (
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    events.error('failed', 'why', error=error)"
    )
    (record,) = lines_of(code)
    assert "ZeroDivisionError" in record["traceback"]


FAILURES = {
    "an error that is logged": "try: int('a secret')\nexcept ValueError as e: events.error('x', error=e)",
    "an exception that standard logging adds": (
        "import logging\ntry: int('a secret')\nexcept ValueError: logging.getLogger('service').exception('x')"
    ),
    "a cause": (
        "try:\n    try: int('a secret')\n    except ValueError as e: raise KeyError('a secret') from e\n"
        "except KeyError as e: events.error('x', error=e)"
    ),
    "an exception that ends the process": "int('a secret')",
    "an exception that ends a thread": (
        "import threading\nthreading.Thread(target=int, args=['a secret']).start()"
    ),
    "an exception of a task that nobody awaits": (
        "import asyncio, gc\nasync def fail(): int('a secret')\n"
        "async def main():\n    asyncio.create_task(fail())\n    await asyncio.sleep(0.01)\n"
        "    gc.collect()\nasyncio.run(main())"
    ),
    "a callback of the event loop": (
        "import asyncio\nasync def main():\n    asyncio.get_running_loop().call_soon(int, 'a secret')\n"
        "    await asyncio.sleep(0.01)\nasyncio.run(main())"
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_an_exception_is_told_by_class_and_stack_and_never_by_its_message(name: str) -> None:
    (record,) = lines_of(FAILURES[name])
    assert record["exception"] in ("builtins.ValueError", "builtins.KeyError")
    assert "builtins.ValueError" in record["traceback"]
    assert "a secret" not in json.dumps(record)


def test_what_the_system_says_of_a_failed_call_is_kept() -> None:
    (record,) = lines_of("open('/nowhere/a secret')")
    assert record["exception"] == "builtins.FileNotFoundError: No such file or directory"
    assert "a secret" not in record["exception"]


def test_less_than_the_level_is_left_out() -> None:
    assert lines_of("events.debug('detail')") == []


def test_an_exception_that_ends_the_process_or_a_thread_is_a_line() -> None:
    thread, process = lines_of(
        "import threading\n"
        "thread = threading.Thread(target=lambda: 1 / 0)\n"
        "thread.start()\n"
        "thread.join()\n"
        "raise RuntimeError('x')"
    )
    assert thread["event"] == "uncaught_in_thread"
    assert process["event"] == "uncaught"


def test_standard_logging_and_warnings_come_out_in_the_same_form() -> None:
    ours, warned = lines_of(
        "import logging, warnings\n"
        "logging.getLogger('worker.engine').info('loaded %s', 'm', extra={'seconds': 1})\n"
        "warnings.warn('old')"
    )
    assert (ours["event"], ours["message"], ours["seconds"]) == ("worker.engine", "loaded m", 1)
    assert "old" in warned["message"]


UNWRITABLE = {
    "a number that JSON has not": ("float('nan')", "nan"),
    "a name that is no text": ("{(1, 2): 3}", "{(1, 2): 3}"),
    "what tells nothing of itself": ("type('Mute', (), {'__str__': lambda self: 1 / 0})()", "Mute"),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_a_field_that_json_cannot_hold_is_text_and_fails_nobody(name: str) -> None:
    given, written = UNWRITABLE[name]
    (record,) = lines_of(f"events.info('measured', 'told', seconds={given})")
    assert (record["event"], record["message"], record["seconds"]) == ("measured", "told", written)


def test_arguments_that_do_not_fit_their_message_fail_nobody_and_are_left_out() -> None:
    (record,) = lines_of("import logging\nlogging.getLogger('service').warning('%d items', 'a secret')")
    assert record["message"] == "%d items"
    assert "a secret" not in json.dumps(record)


def test_a_lone_surrogate_does_not_break_a_line() -> None:
    (record,) = lines_of("events.info('name', title='\\ud800')")
    assert "title" in record


def test_a_reader_that_has_stopped_holds_nobody_up() -> None:
    code = PREAMBLE + (
        "for number in range(2000):\n    events.info('event', 'x' * 100, number=number)\n"
        "print('done', flush=True)\ninput()\nevents.info('last')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "done\n"  # although nobody has read a line yet
        first = [json.loads(process.stderr.readline()) for _ in range(100)]
        process.stdin.write("\n")
        process.stdin.close()
        rest = [json.loads(line) for line in process.stderr]
        lost, last = rest[-2:]
        assert lost["event"] == "log_lines_lost"
        assert last["event"] == "last"
        written = [record for record in first + rest if record["event"] == "event"]
        assert len(written) + lost["count"] == 2000
