"""What every test may use: options, skips of what a machine lacks, one running service for the session."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import hypothesis
import pytest

from tests.server import DEFAULTS, RunningServer, start_server

# gRPC would write lines of its own between pytest's dots. It reads this when it is imported. Programs that
# tests start do not inherit it: what they write is looked at.
with patch.dict(os.environ, GRPC_VERBOSITY="NONE"):
    import grpc  # noqa: F401


# To measure how large batches should be takes all cores for seconds: only the test of that does it.
DEFAULTS.update(ALTCLIP_BATCH_TOKENS="4096", ALTCLIP_BATCH_IMAGES="32")

TESTS = Path(__file__).parent
WITH_PROCESSES = (
    "altclip/bulk",
    "docs",
    "e2e",
    "faults",
    "interop",
    "playground",
    "service/supervisor",
    "test_wheels.py",
    "worker/families",
    "worker/models",
)
"""Where a test takes seconds, since it starts servers, browsers or whole models."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-size", action="store_true", help="also run what makes a model of the real size")
    parser.addoption("--soak", action="store_true", help="also run what takes minutes")
    parser.addoption("--deploy", action="store_true", help="also run what deploys the service, for minutes")


def pytest_configure() -> None:
    # A shell that runs us in the background ignores SIGINT, and nohup SIGHUP; what we start would inherit it.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    # How fast examples are made and run tells of the machine, and not of the code. They are the same at every
    # run, so that a failure has to do with what was changed; `make fuzz` looks for new ones.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile(
        "any machine", deadline=None, derandomize=True, suppress_health_check=slow
    )
    hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = {
        "soak": (config.getoption("--soak"), "takes minutes: run with --soak"),
        "full_size": (
            config.getoption("--full-size"),
            "makes a model of the real size: run with --full-size",
        ),
        "deploy": (config.getoption("--deploy"), "deploys the service, for minutes: run `make deploy-test`"),
    }
    if any(item.get_closest_marker("cuda") for item in items):
        skips["cuda"] = (_has_cuda(), "no NVIDIA device here")
    for name, (wanted, reason) in skips.items():
        for item in items:
            # A keyword may also be the name of the test's folder.
            if not wanted and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))
    _put_long_files_first(items)


def _put_long_files_first(items: list[pytest.Item]) -> None:
    """Short files come last: of several processes none then works alone on a long one while others idle."""
    sizes = Counter(item.path for item in items)
    slow = {path: any(path.is_relative_to(TESTS / part) for part in WITH_PROCESSES) for path in sizes}
    items.sort(key=lambda item: (not slow[item.path], -sizes[item.path]))


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The service with the bundled model, started once; tests leave it as they found it."""
    with start_server() as running:
        yield running
