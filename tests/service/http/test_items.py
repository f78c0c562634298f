"""Every form in which a text or a picture may come, and the path that an error has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Image
from service.frontend.core.embed_items import Part
from service.frontend.http.items import content_items, conversations, item, items, scored_items
from tests.service.http.asking import PICTURE as FILE
from tests.service.http.asking import asking, data_uri
from tests.service.running import LONG

URI = "data:image/png;base64,AAAA"
PICTURE = Image(uri=URI)
BARE = Image(uri="data:;base64,AAAA")


def parts(value: Any, modality: Any = "") -> list[Part]:
    return list(item(value, "input", modality).parts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a cat", Part("input", text="a cat")),
        ("", Part("input", text="")),
        ("https://example.com/cat.png", Part("input", text="https://example.com/cat.png")),
        ("data:text/plain,x", Part("input", text="data:text/plain,x")),
        (URI, Part("input", image=PICTURE)),
        ("DATA:IMAGE/png;base64,AAAA", Part("input", image=Image(uri="DATA:IMAGE/png;base64,AAAA"))),
        ({"text": "a"}, Part("input.text", text="a")),
        ({"image": URI}, Part("input.image", image=PICTURE)),
        ({"image": "AAAA"}, Part("input.image", image=BARE)),
        ({"image": "http://x/y.png"}, Part("input.image", image=Image(uri="http://x/y.png"))),
        ({"url": URI}, Part("input.url", image=PICTURE)),
        ({"bytes": "AAAA"}, Part("input.bytes", image=BARE)),
        ({"image_url": URI}, Part("input.image_url", image=PICTURE)),
        ({"image_url": {"url": URI}}, Part("input.image_url.url", image=PICTURE)),
        ({"text": "a", "image": None}, Part("input.text", text="a")),
        ({"text": "a", "weight": -2}, Part("input.text", text="a", weight=-2.0)),
        ({"type": "text", "text": "a"}, Part("input.text", text="a")),
        ({"type": "input_text", "text": "a"}, Part("input.text", text="a")),
        ({"type": "image_url", "image_url": {"url": URI}}, Part("input.image_url.url", image=PICTURE)),
        ({"type": "image_url", "image_url": URI}, Part("input.image_url", image=PICTURE)),
        ({"type": "image_base64", "image_base64": URI}, Part("input.image_base64", image=PICTURE)),
        ({"type": "input_image", "image_url": URI}, Part("input.image_url", image=PICTURE)),
        ({"content": "a"}, Part("input.content", text="a")),
        ({"content": [{"type": "text", "text": "a"}]}, Part("input.content[0].text", text="a")),
    ],
)
def test_one_part(value: Any, expected: Part) -> None:
    assert parts(value) == [expected]


def test_modality_says_what_a_bare_string_is() -> None:
    assert parts(URI, "text") == [Part("input", text=URI)]
    assert parts("AAAA", "image") == [Part("input", image=BARE)]
    assert parts({"text": "a"}, "image") == [Part("input.text", text="a")]


def test_an_object_with_text_and_image_has_two_parts_of_one_weight() -> None:
    assert parts({"text": "a", "image": URI, "weight": 0.5}) == [
        Part("input.text", text="a", weight=0.5),
        Part("input.image", image=PICTURE, weight=0.5),
    ]


def test_content_has_any_number_of_parts() -> None:
    content = ["a", {"type": "image_url", "image_url": {"url": URI}, "weight": 3}, URI]
    assert parts({"content": content}) == [
        Part("input.content[0]", text="a"),
        Part("input.content[1].image_url.url", image=PICTURE, weight=3.0),
        Part("input.content[2]", image=PICTURE),
    ]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, "input"),
        (1, "input"),
        (True, "input"),
        ({}, "input"),
        ({"weight": 1}, "input"),
        ({"text": 1}, "input.text"),
        ({"image": []}, "input.image"),
        ({"image": ""}, "input.image"),
        ({"image_url": {}}, "input.image_url.url"),
        ({"image_url": {"url": 3}}, "input.image_url.url"),
        ({"text": "a", "weight": "1"}, "input.weight"),
        ({"text": "a", "weight": True}, "input.weight"),
        ({"type": "video"}, "input.type"),
        ({"type": 1}, "input.type"),
        ({"type": "text"}, "input.text"),
        ({"type": "image_url"}, "input.image_url"),
        ({"image": URI, "url": URI}, "input.url"),
        ({"content": []}, "input.content"),
        ({"content": 1}, "input.content"),
        ({"content": [[]]}, "input.content[0]"),
        ({"content": [{"text": {}}]}, "input.content[0].text"),
        ([["a"]], "input[0]"),
        (["a", None], "input[1]"),
        ([{"image_url": {"url": 0}}], "input[0].image_url.url"),
    ],
)
def test_what_is_no_item_is_refused_at_its_place(value: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        items(value, "input", most=10, most_parts=10)
    assert refused.value.violations[0].path == path


@pytest.mark.parametrize("value", [[1, 2], [[1, 2], [3]], [[1]]])
def test_token_ids_are_refused_with_the_switch_that_avoids_them(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="check_embedding_ctx_length=False"):
        items(value, "input", most=10, most_parts=10)


def test_more_items_than_are_accepted_are_not_even_read() -> None:
    with pytest.raises(InvalidRequest, match="holds 11 elements; at most 10"):
        items([None] * 11, "input", most=10, most_parts=10)


SIX = {"role": "user", "content": [None] * 6}


@pytest.mark.parametrize(
    "read",
    [
        lambda: items([SIX, SIX], "input", most=10, most_parts=10),
        lambda: items({"content": [None] * 12}, "input", most=10, most_parts=10),
        lambda: content_items([SIX, SIX], "input", most_parts=10),
        lambda: scored_items([SIX, SIX], "input", width=4, most=10, most_parts=10),
        lambda: conversations([SIX, SIX], "input", most=10, most_parts=10),
        lambda: conversations([[SIX], [SIX]], "input", most=10, most_parts=10),
        lambda: conversations([{"role": "user", "content": None}] * 12, "input", most=10, most_parts=10),
    ],
)
def test_more_parts_than_are_accepted_are_not_even_read(read: Callable[[], Any]) -> None:
    with pytest.raises(InvalidRequest, match="input: holds 12 parts; at most 10"):
        read()


def test_a_conversation_is_what_its_users_say() -> None:
    messages = [
        {"role": "system", "content": "Represent the picture."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI}}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "a cat"},
    ]
    (one,) = conversations(messages, "messages", most=10, most_parts=10)
    assert one.parts == [
        Part("messages[1].content[0].image_url.url", image=PICTURE),
        Part("messages[3].content", text="a cat"),
    ]


def test_a_list_of_conversations_is_a_list_of_items() -> None:
    found = conversations(
        [[{"role": "user", "content": text}] for text in "ab"], "messages", most=10, most_parts=10
    )
    assert [one.parts for one in found] == [
        [Part("messages[0][0].content", text="a")],
        [Part("messages[1][0].content", text="b")],
    ]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ("hi", "messages"),
        ([], "messages"),
        ([{"role": "system", "content": "x"}], "messages"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": "a"}, 1], "messages[1]"),
        ([[{"role": "user", "content": "a"}], "x"], "messages[1]"),
    ],
)
def test_a_broken_conversation_is_refused_at_its_place(messages: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conversations(messages, "messages", most=10, most_parts=10)
    assert refused.value.violations[0].path == path


@pytest.mark.parametrize("known", [False, True], ids=["new", "computed before"])
async def test_an_item_with_an_error_is_neither_cut_nor_used(known: bool) -> None:
    good = ["a cat", {"image": data_uri(FILE)}, {"content": ["a", {"image": data_uri(FILE)}]}]
    bad = [LONG, {"content": [LONG, "a"]}, {"content": ["a", {"image": data_uri(FILE)}, {"image": "AAAA"}]}]
    async with asking(cache_bytes=1 << 20) as http:
        if known:
            await http.embed(input=[LONG, "a", {"image": data_uri(FILE)}])
        chosen = {"error_policy": "per_item", "truncation": "reject"}
        mixed = (await http.embed(input=[*bad, *good], **chosen)).json
        assert [each["object"] for each in mixed["data"]] == ["error"] * 3 + ["embedding"] * 3
        assert mixed["truncated"] == []
        assert mixed["usage"] == (await http.embed(input=good)).json["usage"]
        # Where cutting is allowed, an item that fails for another reason is not cut either.
        broken = {"content": [LONG, {"image": "AAAA"}]}
        mixed = (await http.embed(input=[broken, LONG], error_policy="per_item")).json
        assert mixed["truncated"] == [1]
        assert mixed["usage"] == (await http.embed(input=[LONG])).json["usage"]
