"""The page of /docs: all of the document, and nothing that a browser would have to fetch or run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from service.frontend.http.openapi.page import page
from tests.service.http.asking import Asking

VOID = {"meta", "link", "br", "img", "input"}
CLOSED_BY_THE_NEXT = {"th", "td"}


class Page(HTMLParser):
    """The elements of a page; `open` is empty at the end where all were closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID | CLOSED_BY_THE_NEXT:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in CLOSED_BY_THE_NEXT:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.asyncio(loop_scope="session")
async def test_it_shows_every_route_and_fetches_nothing(shared: Asking) -> None:
    answer = await shared.get("/docs")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    shown = Page(answer.body.decode())
    assert shown.open == []
    document = (await shared.get("/openapi.json")).json
    for path, methods in document["paths"].items():
        assert path in shown.text
        for operation in methods.values():
            assert operation["summary"] in shown.text
    names = {tag for tag, _ in shown.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "form"}
    assert not any({"src", "style", "onclick"} & set(attributes) for _, attributes in shown.tags)
    anchors = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
    targets = {attributes["href"] for tag, attributes in shown.tags if tag == "a"}
    assert targets == {"openapi.json"} | {f"#{name}" for name in document["components"]["schemas"]}
    assert anchors == set(document["components"]["schemas"])


@pytest.mark.asyncio(loop_scope="session")
async def test_its_policy_allows_its_own_style_and_nothing_else(shared: Asking) -> None:
    answer = await shared.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    (style,) = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "color-scheme: light dark" in style


def test_what_a_document_says_is_text_and_no_markup() -> None:
    nasty = "<script>alert(1)</script>&'\""
    operation = {
        "tags": [nasty],
        "summary": nasty,
        "description": nasty,
        "requestBody": {"content": {nasty: {"schema": {"enum": [nasty]}, "example": {nasty: nasty}}}},
        "responses": {"200": {"description": nasty}},
    }
    document = {
        "info": {"title": nasty, "version": nasty, "summary": nasty, "description": nasty},
        "tags": [{"name": nasty}],
        "paths": {f"/{nasty}": {"post": operation}},
        "components": {"schemas": {"A": {"properties": {nasty: {"description": nasty}}}}},
    }
    shown = Page(page(document))
    assert shown.open == []
    assert not [tag for tag, _ in shown.tags if tag == "script"]
    assert shown.text.count("alert(1)") >= 10
