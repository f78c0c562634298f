"""The whole service computes equal contents once, as its encoder counts them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from altclip import Client
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
    calls = tmp_path / "calls"
    picture = pictures(1)[0]
    stub = f"m=stub:dimension=8,image_size=32,service_time=0.5,calls={calls}"
    with start_server("--model", stub, "--cache-bytes", "1MiB") as server, Client(server.grpc) as client:
        until(lambda: bool(client.get_model().weights_sha256), seconds=10, what="the weights are known")
        before = computed(calls)
        with ThreadPoolExecutor(8) as threads:
            texts = [threads.submit(client.embed_text, ["a cat"]) for _ in range(8)]
            images = [threads.submit(client.embed_image, [picture]) for _ in range(8)]
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
