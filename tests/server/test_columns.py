"""Columns of numbers as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rundial.server.store.columns import (
    pack_floats,
    pack_ints,
    pack_labels,
    pack_texts,
    unpack_floats,
    unpack_ints,
    unpack_labels,
    unpack_texts,
)


@settings(deadline=None)
@given(arrays.arrays(np.int64, st.integers(0, 200)))
def test_integers_come_back(values: np.ndarray) -> None:
    """Any int64 may follow any other, the extremes included."""
    assert (unpack_ints(pack_ints(values), len(values)) == values).all()


@settings(deadline=None)
@given(arrays.arrays(np.uint64, st.integers(0, 200)))
def test_floats_come_back_bit_for_bit(bits: np.ndarray) -> None:
    """Every bit pattern survives: signed zeros, infinities, NaN payloads."""
    packed = pack_floats(bits.view(np.float64))
    assert (unpack_floats(packed, len(bits)).view(np.uint64) == bits).all()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 4096, 4097, 20_000])
@pytest.mark.parametrize("kind", ["constant", "noise", "counting", "half noise"])
def test_long_columns_come_back(count: int, kind: str) -> None:
    """Raw, deflated and constant planes are all told apart again, whatever the length."""
    noise = np.random.default_rng(1).normal(size=count)
    values = {
        "constant": np.full(count, 0.25),
        "noise": noise,
        "counting": np.arange(count, dtype=np.float64),
        "half noise": np.where(np.arange(count) < count // 2, noise, 0.0),
    }[kind]
    assert unpack_floats(pack_floats(values), count).tobytes() == values.tobytes()
    whole = (values * 1e6).astype(np.int64)
    assert unpack_ints(pack_ints(whole), count).tobytes() == whole.tobytes()


def test_a_noisy_series_takes_less_than_eight_bytes_a_point() -> None:
    """A step counter costs nothing, a jittering clock a byte, and of a noisy float only the mantissa remains."""
    count = 16_384
    random = np.random.default_rng(2)
    steps = np.arange(count)
    times = 1_700_000_000_000 + np.cumsum(random.integers(18, 25, count))
    packed = len(pack_ints(steps)) + len(pack_ints(times)) + len(pack_floats(random.normal(size=count)))
    assert len(pack_ints(steps)) < 32
    assert packed / count < 8


def test_texts_and_labels_come_back() -> None:
    """Texts keep their order; labels are stored only when some point has one."""
    assert unpack_texts(pack_texts(["", "a\x00b", "ünï"])) == ["", "a\x00b", "ünï"]
    labels = [(2, "train", None), (1, None, {"subset": "a"})]
    assert unpack_labels(pack_labels(labels), 3) == labels
    assert pack_labels([(3, None, None)]) is None
    assert unpack_labels(None, 3) == [(3, None, None)]
