"""Work of every kind whose caller went or whose deadline passed in the queue never reaches the encoder.

The stub writes down every batch that it is given. While one occupies the device, callers of several RPCs
come, and some of them do not stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import open_stub, service
from tests.load import picture
from tests.server import RunningServer, until

STREAMED = 20


def computed(path: Path) -> Counter[str]:
    """How many items of each kind were given to the encoder."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, items = line.split()
        found[kind] += int(items)
    return found


def metric(server: RunningServer, name: str) -> dict[str, float]:
    return {kind: server.metric(name, modality=kind) for kind in ("text", "image", "prompt")}


def requests(name: str) -> Iterator[pb.EmbedStreamRequest]:
    yield pb.EmbedStreamRequest(config=pb.StreamConfig())
    items = [pb.StreamItem(id=str(number), text=f"{name} streamed {number}") for number in range(STREAMED)]
    yield pb.EmbedStreamRequest(batch=pb.StreamBatch(items=items))


def send(stub: Any, name: str, timeout: float) -> list[Any]:
    """Five texts, four images and two prompts in calls of every kind, and a stream of texts; none twice."""
    images = [pb.Image(content=picture(f"{name} {number}")) for number in range(4)]
    texts = [f"{name} {number}" for number in range(3)]
    items = [pb.Item(text=f"{name} q"), pb.Item(image=images[3]), pb.Item(text=f"{name} c")]
    return [
        stub.EmbedText.future(pb.EmbedTextRequest(texts=texts), timeout=timeout),
        stub.EmbedImage.future(pb.EmbedImageRequest(images=images[:3]), timeout=timeout),
        stub.EncodePrompt.future(pb.EncodePromptRequest(texts=texts[:2]), timeout=timeout),
        stub.Similarity.future(
            pb.SimilarityRequest(queries=items[:1], candidates=items[1:]), timeout=timeout
        ),
        stub.EmbedStream(requests(name), timeout=timeout),
    ]


ONE = {"text": 5 + STREAMED, "image": 4, "prompt": 2}
"""Items of one `send`."""


def test_what_nobody_waits_for_any_more_never_ran(tmp_path: Path) -> None:
    path, hold = tmp_path / "calls", tmp_path / "hold"
    source = f"m=stub:dimension=8,state_dimension=8,image_size=32,hold={hold},calls={path}"
    with service(source) as server, open_stub(server) as stub:
        warm = pb.EmbedImageRequest(images=[pb.Image(content=picture("starts the decoders"))])
        stub.EmbedImage(warm, timeout=60)
        before = computed(path)
        hold.touch()
        blocking = stub.EmbedText.future(pb.EmbedTextRequest(texts=["the first"]), timeout=60)
        until(lambda: computed(path)["text"] == before["text"] + 1, what="the device is busy")
        kept, given_up = send(stub, "kept", 60), send(stub, "given up", 60)
        queued = {kind: 2.0 * count for kind, count in ONE.items()}
        until(lambda: metric(server, "altclip_queue_depth") == queued, what="all are queued")
        for call in given_up:
            call.cancel()
        for call in send(stub, "late", 1.0):
            assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert not blocking.done()
        left = {kind: float(count) for kind, count in ONE.items()}
        until(lambda: metric(server, "altclip_queue_depth") == left, what="only those kept are left")
        hold.unlink()
        for call in kept[:4]:
            call.result()
        assert sum(len(answer.ids) for answer in kept[4]) == STREAMED
        assert computed(path) - before == Counter(ONE) + Counter(text=1)
        nothing = dict.fromkeys(ONE, 0.0)
        until(lambda: metric(server, "altclip_slots_in_use") == nothing, what="slots are free")

        def ended(outcome: str) -> float:
            return server.metric("altclip_items_total", outcome=outcome)

        until(
            lambda: server.metric("altclip_items_accepted_total") == ended("ok") + ended("cancelled"),
            what="all have ended",
        )
        assert ended("ok") == sum(ONE.values()) + 2
        assert ended("cancelled") >= sum(ONE.values())
