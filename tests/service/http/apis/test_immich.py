"""What immich sends to its machine learning server, and reads of the answer."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from altclip.v1 import embedding_service_pb2 as pb
from service.frontend.http.apis import immich
from tests.server import free_port
from tests.service.http.asking import KEY, PICTURE, Answer, Asking, asking, keyed

SHARED = pytest.mark.asyncio(loop_scope="session")
NAME = "XLM-Roberta-Large-Vit-L-14"
VISUAL = {"clip": {"visual": {"modelName": "m"}}}
TEXTUAL = {"clip": {"textual": {"modelName": "m", "options": {"language": "de"}}}}
FACES = {
    "facial-recognition": {
        "detection": {"modelName": "buffalo_l", "options": {"minScore": 0.7}},
        "recognition": {"modelName": "buffalo_l"},
    }
}
FOUND = {"facial-recognition": [], "imageHeight": 40, "imageWidth": 40}


async def predict(http: Asking, entries: Any = None, **options: Any) -> Answer:
    """As its client sends it: the image as a file without a name of its own."""
    headers = options.pop("headers", {})
    form = aiohttp.FormData(default_to_multipart=True)
    if entries is not None:
        form.add_field("entries", entries if isinstance(entries, str) else json.dumps(entries))
    for name, values in options.items():
        for value in values if isinstance(values, list) else [values]:
            form.add_field(name, value, filename="blob" if isinstance(value, bytes) else None)
    return await http.ask("POST", "/predict", data=form, headers=headers)


async def refused(http: Asking, entries: Any, status: int, **options: Any) -> str:
    answer = await predict(http, entries, **options)
    assert (answer.status, list(answer.json)) == (status, ["detail"]), answer.body[:300]
    return str(answer.json["detail"])


def embedding(answer: Answer) -> bytes:
    """It is a string of JSON, which immich hands to its database as it is."""
    assert isinstance(answer.json["clip"], str), answer.json
    return np.array(json.loads(answer.json["clip"]), "<f4").tobytes()


@SHARED
async def test_a_text_is_embedded_in_any_language(shared: Asking) -> None:
    answer = await predict(shared, TEXTUAL, text="eine Katze")
    expected = await shared.service.call("EmbedText", pb.EmbedTextRequest(texts=["eine Katze"]))
    assert embedding(answer) == expected.embeddings.data
    assert list(answer.json) == ["clip"]


@SHARED
async def test_an_image_comes_back_with_the_size_of_the_original(shared: Asking) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 20), "red").save(file, "JPEG")
    answer = await predict(shared, VISUAL, image=file.getvalue())
    request = pb.EmbedImageRequest(images=[pb.Image(content=file.getvalue())])
    assert embedding(answer) == (await shared.service.call("EmbedImage", request)).embeddings.data
    assert (answer.json["imageHeight"], answer.json["imageWidth"]) == (20, 300)


@SHARED
async def test_ping_is_answered_as_its_client_expects(shared: Asking) -> None:
    answer = await shared.get("/ping")
    assert (answer.status, answer.body) == (200, b"pong")


async def test_a_name_of_its_own_list_is_an_alias() -> None:
    async with asking(alias=(f"{NAME}=m",)) as http:
        entries = {"clip": {"textual": {"modelName": NAME}}}
        assert (await predict(http, entries, text="a")).status == 200
        await refused(http, {"clip": {"textual": {"modelName": "ViT-B-32__openai"}}}, 404, text="a")


@SHARED
@pytest.mark.parametrize(
    ("entries", "start"),
    [
        (None, "entries: the form has exactly one"),
        ("{", "entries: is not a JSON object"),
        ("[]", "entries: is not a JSON object"),
        ({}, "entries: names no task"),
        ({**TEXTUAL, "more": "x" * immich.LONGEST_ENTRIES}, "entries: is longer than 65536 bytes"),
        ({"clip": None}, "entries.clip: "),
        ({"clip": []}, "entries.clip: "),
        ({"clip": {}}, "entries.clip: "),
        ({"clip": {"audio": {"modelName": "m"}}}, "entries.clip: "),
        ({"clip": {**VISUAL["clip"], **TEXTUAL["clip"]}}, "entries.clip: "),
        ({"clip": {"visual": {}}}, "entries.clip.visual.modelName: "),
        ({"clip": {"visual": "m"}}, "entries.clip.visual.modelName: "),
        ({"clip": {"textual": {"modelName": 1}}}, "entries.clip.textual.modelName: "),
    ],
)
async def test_broken_entries_are_told_apart(shared: Asking, entries: Any, start: str) -> None:
    assert (await refused(shared, entries, 422, text="a")).startswith(start)


@SHARED
@pytest.mark.parametrize(
    ("entries", "parts", "start"),
    [
        (VISUAL, {"text": "a"}, "image: "),
        (VISUAL, {"image": [PICTURE, PICTURE]}, "image: "),
        (VISUAL, {"image": b"no picture"}, "image: "),
        (VISUAL, {"image": b""}, "image: "),
        (TEXTUAL, {"image": PICTURE}, "text: "),
        (TEXTUAL, {"text": b"\xff"}, "text: is not valid UTF-8"),
        ({**VISUAL, **FACES}, {"image": PICTURE}, "entries: holds clip and other tasks"),
        (FACES, {"image": PICTURE}, "entries: this server answers clip only"),
    ],
)
async def test_what_cannot_be_used_is_named(shared: Asking, entries: Any, parts: Any, start: str) -> None:
    assert (await refused(shared, entries, 400, **parts)).startswith(start)


@SHARED
async def test_other_refusals_have_its_shape_too(shared: Asking) -> None:
    for answer, status in (
        (await shared.get("/predict"), 405),
        (await shared.post("/predict", {"entries": VISUAL}), 415),
        (
            await shared.ask("POST", "/predict", data=b"", headers={"content-type": "multipart/form-data"}),
            400,
        ),
    ):
        assert (answer.status, list(answer.json)) == (status, ["detail"])


async def test_with_keys_its_client_is_refused() -> None:
    async with keyed() as http:
        assert "key" in await refused(http, TEXTUAL, 401, text="a")
        assert (await predict(http, TEXTUAL, text="a", headers=KEY)).status == 200


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def upstream(answering: Answering) -> AsyncIterator[str]:
    """Another machine learning server, by its address."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/ml/predict", answering)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/ml"
    finally:
        await runner.cleanup()


async def test_other_tasks_are_passed_on_as_they_came_but_for_the_key() -> None:
    seen: list[Any] = []

    async def answering(request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        assert isinstance(image, web.FileField)
        seen.append((json.loads(str(form["entries"])), image.file.read(), dict(request.headers)))
        return web.json_response(FOUND)

    async with upstream(answering) as url, keyed(immich_upstream=url) as http:
        answer = await predict(http, FACES, image=PICTURE, headers={**KEY, "cookie": "a=b"})
        assert (answer.status, answer.json) == (200, FOUND)
        assert (await predict(http, VISUAL, image=PICTURE, headers=KEY)).json["imageWidth"] == 40
        assert (await predict(http, FACES, image=PICTURE)).status == 401
        await refused(http, {**VISUAL, **FACES}, 400, image=PICTURE, headers=KEY)
    ((entries, image, headers),) = seen
    assert (entries, image) == (FACES, PICTURE)
    assert not {"authorization", "cookie", "x-api-key"} & {name.lower() for name in headers}


async def test_an_error_of_the_other_server_is_passed_back() -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.json_response({"detail": "no such model"}, status=422)

    async with upstream(answering) as url, asking(immich_upstream=url) as http:
        assert await refused(http, FACES, 422, image=PICTURE) == "no such model"


async def test_another_server_that_is_not_there_is_a_bad_gateway() -> None:
    async with asking(immich_upstream=f"http://127.0.0.1:{free_port()}") as http:
        message = await refused(http, FACES, 502, image=PICTURE)
        assert "127.0.0.1" not in message
        assert http.counted("/predict", 502) == 1


async def test_an_address_that_leads_back_is_noticed() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with asking(http_address=f"127.0.0.1:{port}", immich_upstream=url) as http:
        assert "leads back" in await refused(http, FACES, 400, image=PICTURE)


async def test_more_than_are_passed_on_at_a_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immich, "UPSTREAM_REQUESTS", 2)
    go_on, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def answering(request: web.Request) -> web.Response:
        asked.release()
        await go_on.wait()
        return web.json_response(FOUND)

    async with upstream(answering) as url, asking(immich_upstream=url) as http:
        waiting = [asyncio.create_task(predict(http, FACES, image=PICTURE)) for _ in range(2)]
        for _ in waiting:
            await asked.acquire()
        await refused(http, FACES, 429, image=PICTURE)
        assert (await predict(http, VISUAL, image=PICTURE)).status == 200
        go_on.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]


@pytest.mark.parametrize("fault", ["redirects", "too much", "broken off"])
async def test_an_answer_that_is_none_is_a_bad_gateway(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immich, "UPSTREAM_BYTES", 1000)

    async def answering(request: web.Request) -> web.StreamResponse:
        if fault == "redirects":
            raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * (2000 if fault == "too much" else 10))
        if fault == "broken off":
            assert request.transport is not None
            request.transport.close()
        return response

    async with upstream(answering) as url, asking(immich_upstream=url) as http:
        await refused(http, FACES, 502, image=PICTURE)


async def test_another_server_that_is_too_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(immich, "UPSTREAM_SECONDS", 0.2)

    async def answering(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with upstream(answering) as url, asking(immich_upstream=url) as http:
        await refused(http, FACES, 504, image=PICTURE)
        # A deadline of the caller's own comes first.
        monkeypatch.setattr(immich, "UPSTREAM_SECONDS", 60.0)
        await refused(http, FACES, 504, image=PICTURE, headers={"x-request-timeout-ms": "100"})
