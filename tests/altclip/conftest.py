"""The fake service, and both clients in front of it: each test of a client runs once with each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any, cast

import pytest

from altclip import AsyncClient, Client
from tests.altclip.evaluate.evaluation_run import evaluate, seeing, seeing_service  # noqa: F401 - fixtures
from tests.altclip.fake_service import FakeService, RunningFake, start_fake


class Awaited:
    """The asyncio client behind the face of the blocking one: its loop runs while a call is made."""

    def __init__(self, address: str, **options: Any) -> None:
        self._runner = asyncio.Runner()

        async def create() -> AsyncClient:
            return AsyncClient(address, **options)

        try:
            self._client = self._runner.run(create())
        except BaseException:
            self._runner.close()
            raise

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def embed_stream(self, *arguments: Any, **options: Any) -> Generator[Any, None, None]:
        return self._blocking(self._client.embed_stream(*arguments, **options))

    def _blocking(self, results: Any) -> Generator[Any, None, None]:
        try:
            while (result := self._runner.run(_next(results))) is not None:
                yield result
        finally:
            self._runner.run(results.aclose())

    def close(self) -> None:
        self._runner.run(self._client.close())

    def end(self) -> None:
        self.close()
        self._runner.close()


async def _next(results: Any) -> Any:
    return await anext(results, None)


@pytest.fixture
def fake() -> Iterator[RunningFake]:
    running = start_fake()
    yield running
    running.stop()


@pytest.fixture
def service(fake: RunningFake) -> FakeService:
    return fake.service


@pytest.fixture(params=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes clients of one kind, and closes them."""
    made: list[Any] = []

    def make(address: str, **options: Any) -> Client:
        kind = Client if request.param == "sync" else Awaited
        made.append(kind(address, **options))
        return cast(Client, made[-1])

    yield make
    for client in made:
        client.end() if isinstance(client, Awaited) else client.close()


@pytest.fixture
def client(fake: RunningFake, make_client: Any) -> Client:
    return cast(Client, make_client(fake.address, timeout=60))
