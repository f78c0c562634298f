"""Numbers as they are written: every float32 comes back to the last bit, in long lists too."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.frontend.api.messages import Encoding
from service.frontend.http.routes import Response
from service.frontend.http.rows import NUMBERS_AT_ONCE, embedding_rows, json_list
from tests.service.http.asking import Asking
from tests.service.spoiling import gives


async def written(rows: np.ndarray) -> np.ndarray:
    found = [row for row, _ in embedding_rows(rows, Encoding.FLOAT32, as_base64=False)]
    text = Response.of({"data": await json_list(found, rows.size)}).body
    return np.array(json.loads(text)["data"], np.float64).astype(np.float32)


async def test_every_kind_of_float32_comes_back_to_the_last_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)][: 1 << 17].reshape(-1, 64)
    assert ((await written(values)).view(np.uint32) == values.view(np.uint32)).all()


async def test_those_between_minus_one_and_one_do_for_every_step_of_some_powers_of_two() -> None:
    for exponent in (126, 124, 120, 110):  # 0.5, 0.125, … with each of so many fractions
        bits = np.arange(exponent << 23, (exponent + 1) << 23, 97, dtype=np.uint32)
        values = bits.view(np.float32)[: len(bits) // 64 * 64].reshape(-1, 64)
        assert ((await written(values)).view(np.uint32) == values.view(np.uint32)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 100])
async def test_a_list_that_is_written_in_parts_is_one_list(count: int) -> None:
    objects = [{"index": index} for index in range(count)]
    for numbers in (0, NUMBERS_AT_ONCE, 7 * NUMBERS_AT_ONCE, 1000 * NUMBERS_AT_ONCE):
        assert json.loads(Response.of(await json_list(objects, numbers)).body) == objects


async def test_an_empty_list_is_one_too() -> None:
    assert Response.of(await json_list([], 0)).body == b"[]"


async def test_a_number_that_half_precision_cannot_hold_is_the_error_of_its_item(http: Asking) -> None:
    gives(http.service, 70_000.0, times=1)
    body = {"input": ["a", "b"], "embed_dtype": "float16", "normalize": False, "error_policy": "per_item"}
    answer = await http.post("/v1/embeddings", json.dumps(body).encode())
    assert answer.status == 200
    bad, good = json.loads(answer.body)["data"]
    assert (bad["object"], bad["error"]["code"]) == ("error", "internal")
    assert np.isfinite(good["embedding"]).all()
