"""The service and another server, each at its fastest: which dtype that is, and what counts as equal work."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.peers.against import Contents, cut
from benchmarks.peers.fastest import fastest, least_cosine


def test_the_dtype_with_the_highest_rate_is_the_fastest() -> None:
    assert fastest({"float32": 10.0, "int8": 25.0, "bfloat16": 20.0}) == "int8"
    assert fastest({"float32": 10.0, "int8": 10.0}) == "float32"


def test_the_worst_row_says_how_near_a_dtype_is() -> None:
    exact = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    assert least_cosine(3 * exact, exact) == pytest.approx(1.0)
    assert least_cosine(np.array([[1.0, 0.0], [1.0, 1.0]], np.float32), exact) == pytest.approx(0.5**0.5)


def test_a_server_that_cuts_long_texts_computes_less_of_them() -> None:
    sent = Contents("text", [b"one two three " * 20, b"a cat"], [])
    factor, told = cut("infinity", sent)
    assert factor > 1.5
    assert told["tokens a text"] == pytest.approx(factor * float(told["cut by infinity to"]))
    assert cut("mosec", sent) == (1.0, {})
    assert cut("infinity", Contents("image", [b""], [])) == (1.0, {})
