"""What /openapi.json says is what the server does: its routes, its examples, its statuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import jsonschema
import pytest

from service.config.settings import Settings
from service.frontend.api.errors import TABLE
from service.frontend.http.apis import table
from service.frontend.http.openapi.table import DESCRIBED
from service.frontend.http.routes import Route
from service.frontend.http.service import Service
from tests.service.http.asking import Answer, Asking, asking, keyed

pytestmark = pytest.mark.asyncio(loop_scope="session")


def served(http: Asking) -> Mapping[str, Route]:
    """All routes by "METHOD /path"."""
    apis = table.chosen(Service(http.service.server.core, 0.0))
    return {f"{route.method} {route.path}": route for api in apis for route in api.routes}


async def read(http: Asking) -> Any:
    answer = await http.get("/openapi.json")
    assert answer.status == 200
    return answer.json


def fits(document: Any, answer: Answer, described: Any) -> None:
    """The answer is as the description of its status says: raises where it is not."""
    for name, header in described.get("headers", {}).items():
        required = document["components"]["headers"][header["$ref"].rpartition("/")[2]].get("required")
        assert not required or name in answer.headers
    media = answer.headers.get("content-type", "").partition(";")[0]
    if "content" not in described:
        assert answer.body == b""
        return
    schema = described["content"].get(media, described["content"].get("*/*"))["schema"]
    value = answer.json if media == "application/json" else answer.body.decode()
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


async def test_every_route_is_described_and_nothing_else_is(shared: Asking) -> None:
    paths = (await read(shared))["paths"]
    found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert found == set(served(shared))


async def test_no_description_is_left_of_a_route_that_has_gone(shared: Asking) -> None:
    assert set(shared.service.settings.http_apis) == set(Settings().http_apis)
    assert {route for each in DESCRIBED for route in each.operations} == set(served(shared))


async def test_it_is_a_valid_document_and_its_schemas_are_valid(shared: Asking) -> None:
    document = await read(shared)
    assert document["openapi"].startswith("3.1")
    known = document["components"]["schemas"]
    for schema in known.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(document)
    for kind in ("schemas", "headers", "parameters"):
        used = {part.partition('"')[0] for part in text.split(f"#/components/{kind}/")[1:]}
        assert used == set(document["components"][kind])
    identifiers = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(set(identifiers)) == len(identifiers)


async def test_every_example_is_answered_as_its_description_says(shared: Asking) -> None:
    document = await read(shared)
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            options: dict[str, Any] = {}
            for media, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = {**content["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(content["example"])
                options = (
                    {"json": content["example"]} if media == "application/json" else form(content["example"])
                )
            answer = await shared.ask(
                method.upper(), path.replace("{id}", "m").replace("{file}", "css/base.css"), **options
            )
            answers = operation["responses"]
            assert str(answer.status) in answers
            assert answer.status < 300 or min(answers) >= "400", (path, answer.body)
            fits(document, answer, answers[str(answer.status)])
            tried += 1
    assert tried == len(served(shared))


def form(fields: Mapping[str, Any]) -> dict[str, Any]:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            data.add_field(name, each)
    return {"data": data}


async def test_statuses_are_those_of_the_apis_own_shapes(shared: Asking) -> None:
    """Of all errors of the common table, whatever an API makes of them."""
    document = await read(shared)
    apis = table.chosen(Service(shared.service.server.core, 0.0))
    for api in apis:
        for route in api.routes:
            told = set(document["paths"][route.path][route.method.lower()]["responses"])
            if route.body:
                assert told >= {str(api.shape(kind())[0]) for kind in TABLE}, route.path
            if not route.keyless:
                assert "401" in told


async def test_refusals_are_as_described(shared: Asking) -> None:
    document = await read(shared)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = [await shared.ask(method.upper(), path, headers={"x-request-timeout-ms": "soon"})]
            if "requestBody" in operation:
                answers.append(
                    await shared.ask(method.upper(), path, data=b"{", headers={"content-type": "a/b"})
                )
                answers.append(await shared.post(path, b"{"))
            for answer in answers:
                assert 400 <= answer.status < 500
                fits(document, answer, operation["responses"][str(answer.status)])


async def test_apis_that_are_off_are_not_described() -> None:
    async with asking(http_apis=("openai",)) as http:
        document = await read(http)
        assert "/v1/embeddings" in document["paths"]
        assert "/v2/embed" not in document["paths"]
        assert "CohereRequest" not in document["components"]["schemas"]


async def test_keys_and_the_proxys_prefix_are_told() -> None:
    async with keyed(http_prefix="/clip") as http:
        document = await read(http)
        assert document["servers"] == [{"url": "/clip"}]
        assert {"bearer": []} in document["security"]
        assert document["paths"]["/healthz"]["get"]["security"] == []
        assert "security" not in document["paths"]["/v1/embeddings"]["post"]
    async with asking() as http:
        assert "security" not in await read(http)
