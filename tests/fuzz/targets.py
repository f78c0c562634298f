"""What is fuzzed: functions that take any bytes, and raise only where we have a bug.

decode    the bytes of an image, as a decoder process gets them, as stored and upright
request   the bytes of a message: parsed, validated, computed by a stub; the first byte chooses the RPC
http      the body of an HTTP request, JSON or a form: the same; the first byte chooses the route
tokens    a text, by the bundled model's tokenizer
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from service.config.settings import Settings
from service.frontend.api.errors import Internal, ServiceError
from service.frontend.calls.call import Call
from service.frontend.calls.gate import Gate
from service.frontend.compute.pool import Pools
from service.frontend.core.core import Core
from service.frontend.grpc.embedding import EmbeddingServicer
from service.frontend.grpc.handlers import parse
from service.frontend.grpc.models import ModelServicer
from service.frontend.http.apis import table
from service.frontend.http.json_body import read_object
from service.frontend.http.multipart import read_form
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Route
from service.frontend.http.service import Service as HttpService
from tests.service.fake_pools import FakePools, stub_spec
from worker.arrays import Decoded
from worker.errors import ImageError
from worker.families import Tokenizer, family
from worker.inputs.formats import silence_libraries
from worker.inputs.images import ImagePreparer, Preprocessing
from worker.models.sources import resolve_all
from worker.runtime.metrics import Layout, Metrics
from worker.runtime.notices import Priority

__all__ = ["CORPUS", "TARGETS"]

CORPUS = Path(__file__).parent / "corpus"
silence_libraries()
PREPARER = ImagePreparer(Preprocessing(size=32, resize=32), max_pixels=1_000_000)


def decode(data: bytes) -> None:
    """Pixels, or an error that may be shown."""
    for upright in (False, True):
        try:
            pixels = PREPARER.prepare(data, upright=upright)
        except ImageError as refused:
            _check_words(str(refused))
        else:
            assert pixels.shape == (32, 32, 3)


def tokens(data: bytes) -> None:
    """Ids within the vocabulary, and not too many; the same for the same text."""
    text = data.decode("utf-8", "replace")
    most, tokenizer = _tokenizer()
    (found,) = tokenizer.encode([text])
    assert 2 <= len(found.ids) <= most
    assert found.ids.min() >= 0
    assert np.array_equal(found.ids, tokenizer.encode([text, "x"])[0].ids)


def request(data: bytes) -> None:
    """An answer, or an error that is not our fault."""
    loop, methods = _service()
    name = list(methods)[data[0] % len(methods)] if data else "EmbedText"
    try:
        loop.run_until_complete(asyncio.wait_for(_call(methods[name], data[1:]), 60))
    except Internal:
        raise
    except ServiceError as refused:
        _check_words(refused.message)


def http(data: bytes) -> None:
    """An answer, or a refusal in the words of the route's API."""
    loop, routes = _routes()
    api, route = routes[data[0] % len(routes) if data else 0]
    asked = Request(Call("fuzz", None), route.method, route.path, {"content-type": ["multipart/form-data"]})
    try:
        if route.body == "json":
            asked.body = _read_json(data[1:])
        else:
            asked.form = read_form(data[1:], "multipart/form-data; boundary=x")
        answer = loop.run_until_complete(asyncio.wait_for(route.handler(asked), 60))
    except Internal:
        raise
    except ServiceError as refused:
        _check_words(refused.message)
        status, body = api.shape(refused)
        assert 400 <= status < 500
        json.dumps(body)
    else:
        assert answer.status == 200
        json.loads(answer.body)


def _read_json(data: bytes) -> dict[str, Any]:
    """As the standard library reads it, or refused."""
    found = read_object(data)
    again = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=float)
    assert _floats(found) == again
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a name stands twice"
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _floats(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_floats(each) for each in value]
    return float(value) if type(value) is int else value


def _check_words(message: str) -> None:
    """Fit for a log and for a caller: no bytes of the input are quoted as they are."""
    assert message.isprintable()


async def _call(method: Any, raw: bytes) -> None:
    call = Call("fuzz", None)
    if isinstance(method, tuple):
        kind, answer = method
        (await answer(parse(kind, raw), call)).SerializeToString()
        return
    # The messages of a stream, each behind a byte that tells its length.
    messages: list[bytes] = []
    while raw:
        messages.append(raw[1 : 1 + raw[0]])
        raw = raw[1 + raw[0] :]
    waiting = iter(messages)

    async def read() -> bytes | None:
        return next(waiting, None)

    async def write(answer: bytes) -> None:
        assert isinstance(answer, bytes)

    await method(read, write, call)


class _Here:
    """Decodes in this process, where a crash is seen."""

    async def prepare(
        self, content: bytes, priority: Priority = Priority.INTERACTIVE, *, upright: bool = False
    ) -> Decoded:
        image, width, height = PREPARER.picture(content, upright=upright)
        return Decoded(np.asarray(image), width, height)


@functools.cache
def _service() -> tuple[asyncio.AbstractEventLoop, Mapping[str, Any]]:
    loop, core = _core()
    return loop, {**EmbeddingServicer(core).methods(), **ModelServicer(core).methods()}


@functools.cache
def _routes() -> tuple[asyncio.AbstractEventLoop, Sequence[tuple[Api, Route]]]:
    loop, core = _core()
    apis = table.chosen(HttpService(core, 0.0))
    return loop, [(api, route) for api in apis for route in api.routes if route.body]


@functools.cache
def _core() -> tuple[asyncio.AbstractEventLoop, Core]:
    loop = asyncio.new_event_loop()

    async def make() -> Core:
        pools = FakePools([stub_spec("m", "image_size=32")])
        metrics = Metrics.local(Layout(models=("m",), devices=("cpu",)))
        core = Core(Settings(preprocess_threads=1), cast(Pools, pools), metrics, Gate())
        for model in core:
            model.preprocessor._images = _Here()
        return core

    return loop, loop.run_until_complete(make())


@functools.cache
def _tokenizer() -> tuple[int, Tokenizer]:
    (spec,) = resolve_all(())
    return spec.max_tokens, family(spec.model_type).tokenizer(spec)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "decode": decode,
    "http": http,
    "request": request,
    "tokens": tokens,
}
