"""Whatever goes wrong in a client is an AltClipError that says what, where and why."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

import altclip
from altclip import AsyncClient, Client
from tests.altclip.fake_service import Failure, FakeService, RunningFake

ENDLESS = pytest.mark.parametrize("timeout", [math.inf, float(sys.maxsize), sys.maxsize, 1e11, 10**400])


class TestLoneSurrogates:
    def test_a_call_names_the_text(self, client: Client, service: FakeService) -> None:
        with pytest.raises(
            altclip.InvalidArgument, match=r"texts\[1\]: not valid Unicode: .* U\+D800"
        ) as caught:
            client.embed_text(["fine", "a\ud800", "b"])
        assert caught.value.fields[0].field == "texts[1]"
        assert service.seen["EmbedText"] == []

    def test_bytes_that_were_no_utf8_are_told_as_such(self, client: Client) -> None:
        with pytest.raises(altclip.InvalidArgument, match="as from bytes that are not UTF-8"):
            client.embed_text(b"caf\xe9".decode("utf-8", "surrogateescape"))

    def test_a_stream_fails_that_item_alone(self, client: Client) -> None:
        items: list[Any] = [("\ud800", "one"), ("b", "\udfff"), altclip.Uri("data:,\ud83d"), "four"]
        results = sorted(client.embed_stream(items), key=lambda result: result.index)
        assert [result.error is None for result in results] == [True, False, False, True]
        assert results[0].id == "\ud800"
        assert "items[1]: not valid Unicode" in str(results[1].error)
        assert "items[2]: not valid Unicode" in str(results[2].error)

    @pytest.mark.parametrize(
        ("call", "field"),
        [
            (lambda client: client.similarity(["a", "\ud800"], "b"), r"queries\[1\]"),
            (lambda client: client.similarity("a", ["b", "c", "\ud800"]), r"candidates\[2\]"),
            (lambda client: client.classify(b"png", ["a", "\ud800"]), r"labels\[1\]"),
            (lambda client: client.classify(b"png", ["a"], templates=["\ud800{}"]), r"templates\[0\]"),
            (lambda client: client.classify(b"png", ["a"], language="\ud800"), "language"),
            (lambda client: client.encode_prompt(["a", "\ud800"]), r"texts\[1\]"),
            (lambda client: client.embed_text("a", model="\ud800"), "model"),
            (lambda client: client.embed_image(altclip.Uri("data:,\ud800")), r"images\[0\]"),
            (lambda client: client.get_model("\ud800"), "name"),
            (lambda client: client.health("\ud800"), "model"),
            (lambda client: client.wait_until_ready("\ud800", timeout=5), "model"),
            (lambda client: list(client.embed_stream(["a"], model="\ud800")), "model"),
        ],
    )
    def test_they_are_named_wherever_they_are(
        self, client: Client, call: Callable[[Client], object], field: str
    ) -> None:
        with pytest.raises(altclip.InvalidArgument, match=rf"{field}: not valid Unicode"):
            call(client)


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"api_key": "ab\ncd"}, "api_key: the key has a line break at position 2"),
            (
                {"api_key": "ключ"},
                "api_key: the key has a character that is not printable ASCII",
            ),
            ({"api_key": "k" * 20_000}, "api_key: the key has 20,000 characters, more than 8,000"),
            ({"api_key": b"key"}, "api_key: a key is a str, not bytes"),
            ({"timeout": math.nan}, "timeout: give seconds as a number, not nan"),
            ({"timeout": "5"}, "timeout: give seconds as a number, not '5'"),
            ({"timeout": None}, "timeout: give seconds as a number, not None"),
            ({"root_certificates": b"nothing"}, "root_certificates: there is no PEM certificate in it"),
            (
                {"root_certificates": "ca.pem"},
                "root_certificates: give bytes of PEM or a pathlib.Path, not str",
            ),
        ],
    )
    def test_a_client_that_cannot_work_is_not_made(
        self, make_client: Any, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(altclip.InvalidArgument) as caught:
            make_client("localhost:1", **options)
        assert caught.value.message.startswith(said)
        assert "ab" not in caught.value.message.replace("printable", "")

    @pytest.mark.parametrize("address", ["", " ", "http://localhost:50051", "grpc://localhost:50051"])
    def test_an_address_is_host_and_port(self, make_client: Any, address: str) -> None:
        with pytest.raises(altclip.InvalidArgument, match="address: give host:port"):
            make_client(address)

    def test_options_that_grpc_does_not_take(self, make_client: Any, fake: RunningFake) -> None:
        with pytest.raises(altclip.InvalidArgument, match="options: gRPC does not take them"):
            make_client(fake.address, options=[("grpc.max_receive_message_length", 2**40)]).embed_text("a")

    def test_white_space_around_a_key_is_not_part_of_it(self, make_client: Any, fake: RunningFake) -> None:
        make_client(fake.address, api_key=" secret\r\n").embed_text("a")
        make_client(fake.address, api_key="\n").embed_text("a")
        assert [each.get("authorization") for each in fake.service.metadata] == ["Bearer secret", None]

    @pytest.mark.parametrize("request_id", ["a\nb", "é", "x" * 129, "a b", 5])
    def test_a_request_id_that_cannot_be_sent(self, client: Client, request_id: Any) -> None:
        for call in (client.embed_text, lambda *a, **o: list(client.embed_stream(*a, **o))):
            with pytest.raises(altclip.InvalidArgument, match="request_id: an id"):
                call(["a"], request_id=request_id)

    @pytest.mark.parametrize("top_k", [-1, 2**31, 1.5, "all"])
    def test_a_number_that_is_none(self, client: Client, top_k: Any) -> None:
        with pytest.raises(altclip.InvalidArgument, match="top_k: give a"):
            client.similarity("a", "b", top_k=top_k)

    def test_an_array_that_is_no_embedding(self, client: Client) -> None:
        arrays: list[Any] = [np.zeros((2, 2, 2)), np.array(["a", "b"]), np.zeros(4, np.complex64)]
        for array in arrays:
            with pytest.raises(altclip.InvalidArgument, match=r"queries\[0\]: an embedding"):
                client.similarity([array], "a")

    def test_a_word_that_means_nothing(self, client: Client) -> None:
        with pytest.raises(altclip.InvalidArgument, match="encoding: 'float64' is none of float32, float16"):
            client.embed_text("a", encoding="float64")  # type: ignore[arg-type]

    def test_they_are_also_what_python_calls_them(self) -> None:
        assert issubclass(altclip.InvalidArgument, ValueError)


class TestTimeouts:
    @ENDLESS
    def test_a_very_long_one_is_no_limit(self, client: Client, timeout: float) -> None:
        assert len(client.embed_text("a", timeout=timeout)) == 1
        assert len(client.embed_text(["a"] * 60, timeout=timeout)) == 60
        assert len(list(client.embed_stream(["a"], timeout=timeout))) == 1
        assert client.health(timeout=timeout) == "SERVING"
        assert client.get_model(timeout=timeout).name == "first"
        client.wait_until_ready(timeout=timeout)

    @ENDLESS
    def test_it_may_be_the_clients_own(self, make_client: Any, fake: RunningFake, timeout: float) -> None:
        client = make_client(fake.address, timeout=timeout)
        client.wait_until_ready(timeout=None)
        assert len(client.embed_text("a")) == 1

    @pytest.mark.parametrize("timeout", [0, -1, -math.inf])
    def test_none_left_is_a_deadline_that_has_passed(self, client: Client, timeout: float) -> None:
        with pytest.raises(altclip.DeadlineExceeded):
            client.embed_text("a", timeout=timeout)
        with pytest.raises(altclip.DeadlineExceeded):
            client.wait_until_ready(timeout=timeout)


class TestAfterClose:
    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.embed_text("a"),
            lambda client: client.embed_text(["a"] * 60),
            lambda client: client.embed_image(b"a"),
            lambda client: list(client.embed_stream(["a"])),
            lambda client: client.list_models(),
            lambda client: client.health(),
            lambda client: client.wait_until_ready(timeout=5),
        ],
    )
    def test_every_method_says_so(self, client: Client, call: Callable[[Client], object]) -> None:
        client.health()
        client.close()
        client.close()
        with pytest.raises(altclip.ClientUnusable, match="the client was closed"):
            call(client)

    def test_a_wait_under_way_ends(self, fake: RunningFake) -> None:
        client = Client("localhost:1")
        later = threading.Timer(0.3, client.close)
        later.start()
        with pytest.raises((altclip.ClientUnusable, altclip.Cancelled)):
            client.wait_until_ready(timeout=60)
        later.join()


class TestSizes:
    """The fake takes messages of 3 MiB."""

    LARGE = bytes(4 << 20)

    def test_one_picture_too_large_is_that_items_error(self, client: Client) -> None:
        results = sorted(client.embed_stream([b"1", self.LARGE, b"3"] * 2), key=lambda result: result.index)
        assert [type(result.error) for result in results[:3]] == [
            type(None), altclip.MessageTooLarge, type(None)
        ]  # fmt: skip
        assert "items[1]: a message of 4,194,3" in str(results[1].error)
        assert results[1].error is not None
        assert results[1].error.reason == "MESSAGE_TOO_LARGE"
        assert [result.error is None for result in results] == [True, False, True] * 2

    def test_a_text_too_large_is_that_items_error(self, client: Client) -> None:
        first, second = sorted(
            client.embed_stream(["x" * (4 << 20), "fine"]), key=lambda result: result.index
        )
        assert (type(first.error), second.error) == (altclip.MessageTooLarge, None)

    def test_a_call_names_the_picture(self, client: Client, service: FakeService) -> None:
        with pytest.raises(altclip.MessageTooLarge, match=r"images\[2\]: a message of 4,194,3") as caught:
            client.embed_image([b"1", b"2", self.LARGE])
        assert caught.value.fields[0].field == "images[2]"
        assert service.seen["EmbedImage"] == []

    def test_a_refusal_for_its_size_names_the_only_element(
        self, client: Client, service: FakeService
    ) -> None:
        refused = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, message="Received message larger than max")
        service.failures["EmbedText"] = [refused] * 9
        with pytest.raises(altclip.MessageTooLarge, match=r"texts\[0\]: Received message larger than max"):
            client.embed_text("a")

    def test_items_just_below_the_limit_go_through_together(
        self, client: Client, service: FakeService
    ) -> None:
        fitting = bytes((3 << 20) - 100)
        results = list(client.embed_stream([b"small"] * 40 + [fitting] + [b"small"] * 40))
        assert [result.error for result in results] == [None] * 81

    def test_limits_that_cannot_be_asked_for_refuse_nothing(
        self, client: Client, service: FakeService
    ) -> None:
        service.failures["GetModel"] = [Failure(grpc.StatusCode.PERMISSION_DENIED)]
        (result,) = client.embed_stream([self.LARGE])
        assert result.error is None

    def test_a_tuple_that_is_no_pair_is_that_items_error(self, client: Client) -> None:
        items: list[Any] = [("a", "b", "c"), "fine", ()]
        results = sorted(client.embed_stream(items), key=lambda result: result.index)
        assert [result.error is None for result in results] == [False, True, False]
        assert "items[0]: an item is a content or (id, content), not a tuple of 3" in str(results[0].error)


async def test_metadata_that_a_server_refuses_is_not_told_as_overload(fake: RunningFake) -> None:
    failure = Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        message="received metadata size exceeds hard limit (9000 vs. 8192)",
    )
    fake.service.failures["EmbedText"] = [failure] * 9
    async with AsyncClient(fake.address) as client:
        with pytest.raises(altclip.InvalidRequest, match="metadata size exceeds"):
            await client.embed_text("a")


async def test_what_grpc_raises_of_its_own_is_typed(
    fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata that no check of ours stops: gRPC has its own ExecuteBatchError for it."""
    metadata = (("x-request-id", "r"), ("authorization", "Bearer se\ncret"))
    monkeypatch.setattr("altclip.channel.Endpoint.metadata", lambda *_: metadata)
    with Client(fake.address) as blocking, pytest.raises(altclip.Internal):
        blocking.embed_text("a")
    async with AsyncClient(fake.address) as client:
        with pytest.raises(altclip.Internal, match="gRPC failed: ExecuteBatchError") as caught:
            await client.embed_text("a")
        assert "cret" not in str(caught.value)
        with pytest.raises(altclip.AltClipError):
            [result async for result in client.embed_stream(["a"])]


class TestEventLoops:
    def test_a_client_may_be_made_before_its_loop_runs(self, fake: RunningFake) -> None:
        client = AsyncClient(fake.address)

        async def use() -> int:
            async with client:
                return len(await client.embed_text("a"))

        assert asyncio.run(use()) == 1

    @pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
    def test_another_loop_is_told_at_once(self, fake: RunningFake) -> None:
        client = AsyncClient(fake.address)
        first = asyncio.new_event_loop()
        try:
            first.run_until_complete(client.embed_text("a"))
            results = client.embed_stream("text" for _ in itertools.count())
            first.run_until_complete(anext(results))
            for use in (client.embed_text("a"), client.health(), client.close(), anext(results)):
                with pytest.raises(altclip.ClientUnusable, match="belongs to another event loop"):
                    asyncio.run(_awaited(use))
            assert len(first.run_until_complete(client.embed_text("still works"))) == 1
        finally:
            first.run_until_complete(client.close())
            left = asyncio.all_tasks(first)  # of the stream, which could not be ended from another loop
            for task in left:
                task.cancel()
            first.run_until_complete(asyncio.wait_for(_all(left), 60))
            first.close()


async def _awaited(use: Any) -> Any:
    return await use


async def _all(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
