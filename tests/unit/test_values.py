"""What a training script hands over, as plain numbers, texts and configuration."""

import argparse
import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundial.events import RunUpdate
from rundial.values import MAX_DEPTH, MAX_TEXT_BYTES, Invalid, normalise, on_accelerator, plain, scalar, snapshot, text
from rundial.wire import encode


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, float(2**63)),
        (True, True),
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.float16(0.5), 0.5),
        (np.longdouble(1.5), 1.5),
        (np.array([[3]]), 3),
        (Fraction(1, 4), 0.25),
    ],
)
def test_a_number_stays_what_it_is(value, number):
    """A bool is a bool and an int an int, exactly, as far as 64 bits go; beyond that it is a float."""
    found = scalar(value)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize("value", [None, 1j, b"1", [1], (), {1}, np.zeros(2), np.array([]), np.array(1j), object()])
def test_what_is_no_number_says_why(value):
    """The reason is what the warning shows."""
    with pytest.raises(Invalid, match=r"\w+"):
        scalar(value)


def test_a_subclass_is_reduced_to_its_number():
    """An IntEnum, or a float with a memory, leaves nothing of itself in the record."""

    class Epoch(int):
        pass

    class Loss(float):
        pass

    assert [type(scalar(value)) for value in (Epoch(3), Loss(0.5))] == [int, float]


@given(st.text())
def test_any_text_has_a_wire_form(value):
    """Lone surrogates too; at most 8 KiB, never cut within a character."""
    found = text(value * 50)
    assert len(found.encode()) <= MAX_TEXT_BYTES
    encode(found)


def test_a_long_text_is_cut_between_characters():
    """8 KiB of UTF-8 are kept."""
    assert text("é" * 5000) == "é" * (MAX_TEXT_BYTES // 2)
    assert text("a" + "é" * 5000) == "a" + "é" * (MAX_TEXT_BYTES // 2 - 1)


def test_values_are_sorted_by_what_becomes_of_them():
    """Points, marks and complaints, each under the whole name."""
    found = normalise({"train": {"loss": 0.5, "bad": None, 3: math.inf}, "": "note", "lr": np.float32("nan")})
    assert found.values == {"train/loss": 0.5, "(empty)": "note"}
    assert set(found.non_finite) == {"train/3", "lr"}
    assert list(found.invalid) == ["train/bad"]


def test_nesting_has_an_end():
    """A mapping in a mapping in a mapping…: what is too deep is named, what is above it is kept."""
    deep = {"leaf": 1}
    for _ in range(MAX_DEPTH + 5):
        deep = {"d": deep, "x": 1}
    found = normalise(deep)
    assert found.values["x"] == found.values["d/x"] == 1
    (reason,) = found.invalid.values()
    assert "levels deep" in reason


class OnDevice:
    """A tensor on an accelerator, as far as one asks."""

    class device:
        type = "accelerator"

    def __init__(self, value):
        self.value = value

    def detach(self):
        return self

    def clone(self):
        return OnDevice(self.value)


def test_a_snapshot_is_not_touched_by_what_follows():
    """Tensors on a device are copied there, also in nested mappings; everything else is taken as it is."""
    tensor = OnDevice(0.5)
    metrics = {"train": {"loss": tensor}, "lr": 0.1}
    copied, found = snapshot(metrics)
    tensor.value = 9.0
    assert found
    assert (copied["train"]["loss"].value, copied["lr"]) == (0.5, 0.1)
    assert snapshot({"lr": 0.1, "array": np.zeros(3)})[1] is False


def test_asking_for_a_device_harms_nobody():
    """An object whose attributes raise is simply no tensor."""

    class Hostile:
        @property
        def device(self):
            raise RuntimeError("no")

    assert not on_accelerator(Hostile())
    assert not on_accelerator(np.zeros(3))
    assert on_accelerator(OnDevice(1))


@dataclasses.dataclass
class Optimizer:
    name: str
    betas: tuple[float, float]


def test_configuration_keeps_its_shape():
    """Dataclasses, namespaces, arrays and paths become what they hold; ints stay ints and lists lists."""
    args = argparse.Namespace(lr=1e-3, seed=7, optimizer=Optimizer("adam", (0.9, 0.999)), out=Path("/models"))
    assert plain(args) == {
        "lr": 1e-3,
        "seed": 7,
        "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
        "out": "/models",
    }
    assert plain({"dtype": np.float32, "of": [int]}) == {"dtype": "<class 'numpy.float32'>", "of": ["<class 'int'>"]}
    assert plain({"sizes": np.array([1, 2]), "lr": np.float32(0.5), 3: {4}, "none": None}) == {
        "sizes": [1, 2],
        "lr": 0.5,
        "3": [4],
        "none": None,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**64, 1j, b"x", object(), Optimizer, len])
def test_what_has_no_json_becomes_text(value):
    """A configuration is never refused for one of its values."""
    assert isinstance(plain(value), str)


def test_a_hostile_configuration_costs_only_its_value():
    """Whatever an object raises, and however a mapping contains itself, the rest is kept and has a wire form."""

    class Hostile:
        def __str__(self):
            raise RuntimeError("no")

    recursive = {}
    recursive["me"] = recursive
    found = plain({"lr": 0.1, "hostile": Hostile(), "recursive": recursive})
    assert found["lr"] == 0.1
    assert "Hostile" in found["hostile"]
    encode(RunUpdate(1, found))
