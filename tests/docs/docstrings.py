"""Runs the examples of docstrings, against a server, as the prompt of `python -m asyncio` would.

An example may have `await` in it, and names the server as the pages do; what it prints must be what stands
below it.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
from typing import Any

from tests.docs.pages import for_server
from tests.server import RunningServer


def assert_prints(
    name: str, docstring: str, names: dict[str, Any], server: RunningServer, runner: asyncio.Runner
) -> None:
    """Fails where an example prints something else, and where there is none. names: what it can use."""

    def run(source: str) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        result = eval(compile(source, name, "single", flags, dont_inherit=True), names)
        if inspect.iscoroutine(result):
            runner.run(result)

    examples = doctest.DocTestParser().get_examples(docstring)
    assert examples, f"{name} has no example"
    for example in examples:
        example.source = f"run({for_server(example.source, server)!r})\n"
    case = doctest.DocTest(examples, {"run": run}, name, None, None, None)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(case, out=told.append)
    assert result.failed == 0, "".join(told)
