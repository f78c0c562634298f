"""All that openapi.json describes, asked for by schemathesis; `make apis` asks for more and longer."""

from __future__ import annotations

import re

from tests.interop.described import asked


def test_no_answer_is_undescribed_and_none_is_a_server_error() -> None:
    done = asked("--phases=examples,fuzzing", "--max-examples=4", "--seed=1", "--suppress-health-check=all")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    # It did ask: every operation, more than once.
    (tested,) = re.findall(r"Tested: +(\d+)", done.stdout)
    (generated, passed) = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)[0]
    assert int(tested) >= 25
    assert int(passed) == int(generated) > 4 * int(tested)
