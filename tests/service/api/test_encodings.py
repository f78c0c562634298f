"""Rows of numbers as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from service.frontend.api.encodings import encode, finite, sound
from service.frontend.api.errors import Internal
from service.frontend.api.messages import Encoding, Matrix
from service.frontend.api.vectors import normalized


@pytest.fixture
def rows() -> Matrix:
    made = np.random.default_rng(7).standard_normal((5, 19)).astype(np.float32)
    made[3] = 0.0
    return made


def test_normalised_rows_have_length_one_and_zeros_stay_zeros(rows: Matrix) -> None:
    size = np.linalg.norm(normalized(rows).astype(np.float64), axis=1)
    np.testing.assert_allclose(size, [1, 1, 1, 0, 1], atol=1e-7)


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30, 3e38])
def test_the_smallest_and_largest_numbers_normalise(scale: float) -> None:
    row = np.array([[scale, 0.0]], np.float32)
    assert normalized(row)[0].tolist() == [1.0, 0.0]


def test_float32_is_bit_exact(rows: Matrix) -> None:
    data, scales = encode(rows, Encoding.FLOAT32)
    assert scales == []
    np.testing.assert_array_equal(np.frombuffer(data, "<f4").reshape(rows.shape), rows)


def test_float16_is_rounded_up_to_its_largest_number(rows: Matrix) -> None:
    rows[0, 0] = np.finfo(np.float16).max
    data, _ = encode(rows, Encoding.FLOAT16)
    back = np.frombuffer(data, "<f2").reshape(rows.shape)
    np.testing.assert_allclose(back, rows, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_written_in_no_encoding(
    rows: Matrix, encoding: Encoding, value: float
) -> None:
    rows[1, 2] = value
    assert sound(rows, encoding).tolist() == [True, False, True, True, True]
    with pytest.raises(Internal):
        encode(rows, encoding)


@pytest.mark.parametrize("shape", [(768,), (1, 768), (0,), (7, 1024)])
@pytest.mark.parametrize("value", [0.0, 3e38, -3e38, np.nan, np.inf, -np.inf])
def test_numbers_are_finite_also_where_their_squares_are_not(shape: tuple[int, ...], value: float) -> None:
    values = np.full(shape, 3e38 if abs(value) == 3e38 else 1.0, np.float32)
    values[values.shape[0] // 2 :][:1] = value
    assert finite(values) == np.isfinite(values).all()


@pytest.mark.parametrize("value", [65_505.0, -1e6, 3e38])
def test_a_number_beyond_half_precision_is_written_in_every_other_encoding(
    rows: Matrix, value: float
) -> None:
    rows[4, 0] = value
    with pytest.raises(Internal):
        encode(rows, Encoding.FLOAT16)
    for encoding in (Encoding.FLOAT32, Encoding.INT8, Encoding.BINARY):
        encode(rows, encoding)


def test_int8_times_scale_is_the_value_within_half_a_step(rows: Matrix) -> None:
    data, scales = encode(rows, Encoding.INT8)
    steps = np.array(scales, np.float32)[:, None]
    back = np.frombuffer(data, np.int8).reshape(rows.shape) * steps
    assert (np.abs(back - rows) <= steps * 0.5001).all()
    peaks = np.abs(np.frombuffer(data, np.int8).reshape(rows.shape).astype(int)).max(axis=1)
    assert peaks.tolist() == [127, 127, 127, 0, 127]


@pytest.mark.parametrize("value", [1e-45, 1e-38, 3e38])
def test_int8_of_extreme_rows_is_finite(value: float) -> None:
    data, scales = encode(np.array([[value, -value]], np.float32), Encoding.INT8)
    assert np.isfinite(scales).all()
    assert len(data) == 2


def test_binary_has_the_first_component_in_the_highest_bit_and_pads_with_zeros() -> None:
    row = np.array([[1, 0, -1, 2, 0, 0, 0, 3, 0.1]], np.float32)
    data, _ = encode(row, Encoding.BINARY)
    assert data == bytes([0b10010001, 0b10000000])


def test_binary_pads_each_row(rows: Matrix) -> None:
    data, _ = encode(rows, Encoding.BINARY)
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(5, 3), axis=1)
    np.testing.assert_array_equal(bits[:, :19], rows > 0)
    assert not bits[:, 19:].any()
