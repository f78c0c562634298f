"""The live strip's numbers: of the calls of the last minute, and of the models that a caller may use."""

from __future__ import annotations

import pytest

from service.frontend.http.playground.status import Looks, quantile
from tests.service.http.asking import KEY, Asking, asking, keyed
from worker.runtime.metrics import Layout, Metrics

LAYOUT = Layout(models=("m",), devices=("cpu",), methods=("EmbedText",), codes=("OK",))


def test_a_quantile_lies_within_its_bucket() -> None:
    bounds = [0.1, 0.2, 0.4]
    assert quantile(0.5, bounds, [0, 10, 0, 0]) == pytest.approx(0.15)
    assert quantile(0.99, bounds, [98, 0, 2, 0]) == pytest.approx(0.3)
    assert quantile(0.5, bounds, [0, 0, 0, 7]) == 0.4
    assert quantile(0.5, bounds, [0, 0, 0, 0]) is None


def test_speed_is_that_of_the_last_minute() -> None:
    totals, now = Metrics.local(LAYOUT), [0.0]
    looks = Looks(totals, lambda: now[0])
    totals.request_duration.observe(20.0, "EmbedText", "ok", times=100)
    totals.batch_size.observe(64, "m", "text", times=10)
    assert looks.speed().calls == 100
    now[0] = 100.0
    looks.speed()
    totals.request_duration.observe(0.004, "EmbedText", "ok", times=3)
    totals.batch_size.observe(2, "m", "text", times=3)
    now[0] = 130.0
    speed = looks.speed()
    assert (speed.calls, speed.batch_size, speed.window) == (3, 2.0, 30.0)
    assert speed.p50 is not None
    assert speed.p99 is not None
    assert 0.0025 < speed.p50 < speed.p99 <= 0.005


def test_looking_counts_as_no_call() -> None:
    totals = Metrics.local(LAYOUT)
    for route in ("/playground/status", "/playground/{file}", "/", "/readyz"):
        totals.http_request_duration.observe(0.1, route, "ok")
    totals.http_request_duration.observe(0.1, "/v1/embeddings", "ok", times=2)
    assert Looks(totals).speed().calls == 2


async def test_the_numbers_follow_the_calls(http: Asking) -> None:
    before = (await http.get("/playground/status")).json
    assert (before["calls"], before["p50"], before["batch_size"]) == (0, None, None)
    assert (await http.embed(input=["cat", "dog"])).status == 200
    after = await http.get("/playground/status")
    assert after.headers["cache-control"] == "no-store"
    assert after.json["calls"] == 1
    assert 0 < after.json["p50"] <= after.json["p99"]
    assert after.json["ready"]


async def test_a_caller_sees_the_models_that_its_key_may_use() -> None:
    async with keyed("models=m", models=("m", "n")) as http:
        told = (await http.get("/playground/status", headers=KEY)).json
        assert [model["name"] for model in told["models"]] == ["m"]
        assert told["keys"]


@pytest.mark.parametrize("limit", ["requests=0.001/s", "items=0.001/s"])
async def test_looking_takes_nothing_from_a_keys_quota(limit: str) -> None:
    async with keyed(limit) as http:
        for _ in range(5):
            assert (await http.get("/playground/status", headers=KEY)).status == 200
        assert (await http.post("/v1/embeddings", {"input": "a"}, headers=KEY)).status == 200
        assert (await http.post("/v1/embeddings", {"input": "b"}, headers=KEY)).status == 429
        assert (await http.get("/playground/status", headers=KEY)).status == 200
        assert (await http.get("/playground/status")).status == 401


async def test_a_model_is_described_without_the_server_s_paths() -> None:
    async with asking("m") as http:
        (model,) = (await http.get("/playground/status")).json["models"]
    assert model["kind"] == "stub"
    assert model["dimension"] > 0
    assert "/" not in "".join(value for value in model.values() if isinstance(value, str))
