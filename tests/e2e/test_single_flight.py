"""The whole service computes equal contents once, as its encoder counts them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo

from altclip import Client
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.server import start_server, until
from tests.service.running import pictures


def computed(calls: Path) -> dict[str, int]:
    """Items by kind, as the stub wrote them down."""
    found: dict[str, int] = {}
    for line in calls.read_text().splitlines():
        kind, items = line.split()
        found[kind] = found.get(kind, 0) + int(items)
    return found


def test_equal_contents_are_computed_once_and_then_known(tmp_path: Path) -> None:
    calls, hold = tmp_path / "calls", tmp_path / "hold"
    calls.touch()
    picture = pictures(1)[0]
    stub = f"m=stub:dimension=8,image_size=32,hold={hold},calls={calls}"
    with start_server("--model", stub, "--cache-bytes", "1MiB") as server, Client(server.grpc) as client:
        until(lambda: bool(client.get_model().weights_sha256), what="the weights are known")
        before = computed(calls)
        hold.touch()
        with ThreadPoolExecutor(16) as threads:
            texts = [threads.submit(client.embed_text, ["a cat"]) for _ in range(8)]
            images = [threads.submit(client.embed_image, [picture]) for _ in range(8)]
            until(lambda: server.metric("altclip_items_accepted_total") == 16, what="all have come")
            hold.unlink()
            rows = {each.result().vectors.tobytes() for each in texts}
            shown = {each.result().vectors.tobytes() for each in images}
        assert (len(rows), len(shown)) == (1, 1)
        assert client.embed_text(["a cat"]).vectors.tobytes() in rows
        assert client.embed_image([picture]).vectors.tobytes() in shown
        after = computed(calls)
        assert {kind: after[kind] - before.get(kind, 0) for kind in after} == {"text": 1, "image": 1}
        assert server.metric("altclip_items_total", outcome="ok") == 18
        assert server.metric("altclip_items_accepted_total") == 18
        assert server.metric("altclip_cache_lookups_total", result="hit") >= 2


def rejecting(address: str, texts: Sequence[str]) -> dict[str, str]:
    """What a stream that takes no cut text answers, by text: "ok", or the reason of its error."""
    options = pb.EmbeddingOptions(truncation=pb.TRUNCATION_REJECT)

    def messages() -> Iterator[pb.EmbedStreamRequest]:
        yield pb.EmbedStreamRequest(config=pb.StreamConfig(options=options))
        items = [pb.StreamItem(id=str(place), text=text) for place, text in enumerate(texts)]
        yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))

    answers: dict[str, str] = {}
    with grpc.insecure_channel(address) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        for message in stub.EmbedStream(messages(), timeout=60):
            answers |= {texts[int(name)]: "ok" for name in message.ids}
            for error in message.errors:
                info = ErrorInfo()
                error.status.details[0].Unpack(info)
                answers[texts[int(error.id)]] = info.reason
    return answers


def test_a_stream_rejects_a_cut_text_that_is_known_and_answers_all_others() -> None:
    long = "word " * 200
    stub = "m=stub:dimension=8,max_tokens=20"
    with start_server("--model", stub, "--cache-bytes", "1MiB") as server, Client(server.grpc) as client:
        until(lambda: bool(client.get_model().weights_sha256), what="the weights are known")
        client.embed_text([long])
        for others in ([], ["one"], ["two", "three"]):
            expected = {long: "TEXT_TOO_LONG", **dict.fromkeys(others, "ok")}
            assert rejecting(server.grpc, [long, *others]) == expected
        assert server.metric("altclip_items_accepted_total", modality="text") == 7
        assert server.metric("altclip_items_total", outcome="ok") == 4
        assert server.metric("altclip_items_total", outcome="failed") == 3


def test_streams_reject_a_cut_text_that_others_have_computed_meanwhile() -> None:
    long, turns, over = "word " * 200, 6, threading.Event()

    def take(client: Client) -> int:
        taken = 0
        while not over.is_set():
            assert client.embed_text([long]).truncated == (0,)
            taken += 1
        return taken

    with (
        start_server() as server,
        Client(server.grpc) as client,
        ThreadPoolExecutor(5) as threads,
    ):
        takers = [threads.submit(take, client) for _ in range(2)]
        try:
            for turn in range(turns):
                others = [f"text {turn} {number}" + " of a cat" * 12 for number in range(63)]
                streams = [threads.submit(rejecting, server.grpc, [long, *others]) for _ in range(3)]
                for each in streams:
                    assert each.result() == {long: "TEXT_TOO_LONG", **dict.fromkeys(others, "ok")}
        finally:
            over.set()
        ok = sum(taker.result() for taker in takers) + 3 * turns * 63
        assert server.metric("altclip_items_total", outcome="ok") == ok
        assert server.metric("altclip_items_total", outcome="failed") == 3 * turns
        assert server.metric("altclip_items_accepted_total") == ok + 3 * turns
