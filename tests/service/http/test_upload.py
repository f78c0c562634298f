"""Files and texts as the parts of a form."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
import pytest

from tests.service.http.asking import PICTURE, Answer, Asking, data_uri

URI = data_uri(PICTURE)


async def upload(http: Asking, *parts: tuple[str, Any]) -> Answer:
    form = aiohttp.FormData()
    for name, value in parts:
        if isinstance(value, bytes):
            file = io.BytesIO(value)
            form.add_field(name, file, filename="file.bin", content_type="application/octet-stream")
        else:
            form.add_field(name, value)
    # A form without files is multipart too.
    form._is_multipart = True
    return await http.ask("POST", "/v1/embeddings/upload", data=form)


async def raw(http: Asking, body: bytes, boundary: str = "x") -> Answer:
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return await http.ask("POST", "/v1/embeddings/upload", data=body, headers=headers)


async def test_parts_are_rows_in_their_order(http: Asking) -> None:
    answer = await upload(http, ("text", "a cat"), ("image", PICTURE), ("text", "日本"), ("model", "m"))
    expected = await http.embed(input=["a cat", URI, "日本"])
    assert answer.json["data"] == expected.json["data"]
    assert answer.json["usage"] == expected.json["usage"]


async def test_options_are_form_fields(http: Asking) -> None:
    options = {"embed_dtype": "int8", "normalize": False, "truncation": "reject", "dimensions": 16}
    fields = [("embed_dtype", "int8"), ("normalize", "false"), ("truncation", "reject"), ("dimensions", "16")]
    answer = await upload(http, ("text", "a cat"), *fields, ("priority", "1"), ("user", ""))
    assert answer.json["data"] == (await http.embed(input=["a cat"], **options)).json["data"]
    refused = await upload(http, ("text", "word " * 30), *fields)
    assert (refused.status, refused.error["param"]) == (400, "text[0]")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dimensions", "16"),
        ("output_dimension", "16"),
        ("normalize", "true"),
        ("normalized", "true"),
        ("priority", "0"),
        ("priority", "bulk"),
        ("timeout", "600.5"),
        ("truncate_prompt_tokens", "-1"),
        ("truncation", "true"),
        ("truncation", "truncate"),
    ],
)
async def test_what_json_has_as_a_number_or_as_true_is_a_field_too(
    http: Asking, name: str, value: str
) -> None:
    answer = await upload(http, ("text", "a cat"), (name, value))
    assert (answer.status, len(answer.json["data"])) == (200, 1)


async def test_a_large_file_is_read_in_a_thread(http: Asking) -> None:
    answer = await upload(http, ("text", "a"), ("note", "x"), ("image", PICTURE + b"\0" * (1 << 20)))
    assert len(answer.json["data"]) == 2


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("model", "m")], "image"),
        ([("text", "a"), ("image", b"no picture")], "image[1]"),
        ([("text", b"\xff")], "text[0]"),
        ([("text", "a"), ("dimensions", "5")], "dimensions"),
        ([("text", "a"), ("dimensions", "five")], "dimensions"),
        ([("text", "a"), ("output_dimension", "5")], "output_dimension"),
        ([("text", "a"), ("normalize", "maybe")], "normalize"),
        ([("text", "a"), ("timeout", "-1")], "timeout"),
        ([("text", "a"), ("model", "m"), ("model", "m")], None),
        ([("text", "a"), ("model", b"\xff")], None),
        ([("text", "a"), ("user", "u" * 2000)], None),
    ],
)
async def test_what_cannot_be_used_is_named(http: Asking, parts: Any, param: str | None) -> None:
    answer = await upload(http, *parts)
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        b'--x\r\ncontent-disposition: form-data; name="text"\r\n\r\na',
        b'--x\r\ncontent-disposition: form-data; name="text"\r\n\r\na\r\n--x',
        b'--y\r\ncontent-disposition: form-data; name="text"\r\n\r\na\r\n--y--\r\n',
        b"--x\r\ncontent-disposition: form-data\r\n\r\na\r\n--x--\r\n",
        b"--x\r\n\r\na\r\n--x--\r\n",
        b'--x\r\ncontent-disposition: form-data; name="\xff"\r\n\r\na\r\n--x--\r\n',
        b"--x\r\n" + b"a: b\r\n" * 100 + b"\r\na\r\n--x--\r\n",
        b"--x\r\na: " + b"b" * 100_000 + b"\r\n\r\na\r\n--x--\r\n",
        b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\na\r\n' * 5000 + b"--x--\r\n",
    ],
)
async def test_a_broken_form_is_refused(http: Asking, body: bytes) -> None:
    answer = await raw(http, body)
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


async def test_a_form_without_a_boundary_or_of_another_type_is_refused(http: Asking) -> None:
    for kind, status in (("multipart/form-data", 400), ("multipart/mixed; boundary=x", 415)):
        headers = {"content-type": kind}
        answer = await http.ask("POST", "/v1/embeddings/upload", data=b"--x--\r\n", headers=headers)
        assert answer.status == status
    assert (await http.post("/v1/embeddings/upload", {})).status == 415


async def test_a_forms_deadline_ends_it(http: Asking) -> None:
    http.service.pool.hold = asyncio.Event()
    answer = await upload(http, ("text", "a"), ("timeout", "0.01"))
    assert (answer.status, answer.error["code"]) == (504, "deadline_too_short")
    http.service.pool.hold.set()
