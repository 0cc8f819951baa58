"""The vocabulary stays readable for a version on either side of ours."""

import math
from typing import get_args

import msgspec
import pytest

from rundial.events import (
    Ack,
    Dial,
    EvalResult,
    EvalStart,
    Event,
    Gap,
    Ledger,
    LogLine,
    Marker,
    Metrics,
    RunEnd,
    RunStart,
    RunUpdate,
    Span,
    refusal,
)
from rundial.wire import encode

decode = msgspec.msgpack.Decoder(Event).decode

WHOLE = [
    RunStart(
        1,
        "run_a",
        "w",
        "p",
        "n",
        "eval",
        "allow",
        "g",
        "j",
        ["t"],
        {"lr": 1},
        "h",
        2,
        3,
        "c",
        {"x": 1},
        4.0,
        True,
        "cv/a",
        "alias",
        "notes",
    ),
    Metrics(1, 2, {"loss": 0.5, "n": 3, "ok": True, "note": "text"}, "epoch_1", {"fold": "2"}),
    RunUpdate(
        1,
        {"lr": 2},
        {"best": 0.1},
        "name",
        ["t"],
        "notes",
        {"name": "a", "mode": "max"},
        "cv",
        "al",
        "g",
        "j",
        {"os": "x"},
        {"id": "s"},
    ),
    RunEnd(1, "failed", "reason", "traceback"),
    Marker(1, "non_finite", "loss", 3, {"value": "nan"}),
    Gap(4, 9, "spool_bytes"),
    Ledger(1, 10, {"queue_full": 2}, {"loss": 1}),
    LogLine(1, "warn", "text", "stderr", True),
    Span(
        "0" * 32,
        "1" * 16,
        "2" * 16,
        "name",
        "tool",
        1,
        2,
        "error",
        "why",
        {"a": 1},
        [("e", 1, {"b": 2})],
        "model",
        "system",
        3,
        4,
        0.5,
    ),
    EvalStart(1, "evr", "suite", {"name": "d"}, [{"name": "exact"}], {"t": 0}, "sut"),
    EvalResult(1, "evr", "example", "exact", 0.5, True, "0" * 32, {"path": "a"}, {"k": 1}),
    Dial(1, "lr", "float", 0.0, 1.0, 0.1, [0.1, 2, "a"], "1/s", "what it does", 0.5),
    Ack(1, "cmd", "lr", "applied", 0.5, 0.1, "why", {"0": "applied"}, "ada", "because"),
]
REQUIRED = {
    RunStart: 5,
    Metrics: 3,
    RunUpdate: 1,
    RunEnd: 2,
    Marker: 3,
    Gap: 3,
    Ledger: 2,
    LogLine: 3,
    Span: 7,
    EvalStart: 3,
    EvalResult: 5,
    Dial: 3,
    Ack: 4,
}
"""How many fields the first version of each event had. A number here never grows: new fields have defaults."""


def names(events):
    return [type(event).__name__ for event in events]


def test_every_event_is_told_here():
    """Whoever adds an event adds its example."""
    assert {type(event) for event in WHOLE} == set(get_args(Event)) == set(REQUIRED)


def test_tags_are_pinned():
    """A tag stands in every record that was ever written: none is changed or used again."""
    tags = {kind.__name__: kind.__struct_config__.tag for kind in get_args(Event)}
    assert tags == {
        "RunStart": 1,
        "Metrics": 2,
        "RunUpdate": 3,
        "RunEnd": 4,
        "Marker": 5,
        "Gap": 6,
        "Ledger": 7,
        "LogLine": 8,
        "Span": 9,
        "EvalStart": 10,
        "EvalResult": 11,
        "Dial": 12,
        "Ack": 13,
    }


@pytest.mark.parametrize("event", WHOLE, ids=names(WHOLE))
def test_an_event_comes_back_as_it_went(event):
    """Every field, of the right type."""
    assert decode(encode(event)) == event


@pytest.mark.parametrize("event", WHOLE, ids=names(WHOLE))
def test_an_older_writer_is_understood(event):
    """A record that ends after the fields of the first version means the defaults for all others."""
    fields = msgspec.to_builtins(event)[: 1 + REQUIRED[type(event)]]
    old = decode(encode(fields))
    assert type(old) is type(event)
    assert msgspec.to_builtins(old)[: len(fields)] == fields


@pytest.mark.parametrize("event", WHOLE, ids=names(WHOLE))
def test_a_newer_writer_is_understood(event):
    """Fields that we do not know yet are passed over."""
    assert decode(encode([*msgspec.to_builtins(event), "new", {"more": 1}])) == event


def test_defaults_are_not_shared():
    """What is put into one event is not in the next."""
    first, second = RunStart(1, "a", "w", "p", "n"), RunStart(1, "b", "w", "p", "n")
    first.tags.append("x")
    first.config["lr"] = 1
    assert (second.tags, second.config) == ([], {})


@pytest.mark.parametrize(
    "dial, taken, refused",
    [
        (Dial(0, "x", "float", 0.0, 1.0), [0, 1, 0.5], [-0.1, 2, True, "1", None, [1], math.nan, math.inf, 10**400]),
        (Dial(0, "x", "float"), [-5, 1e18], [2**63, -(10**30), {}]),
        (Dial(0, "x", "int", 1, 9), [1, 9, 4.0], [0, 1.5, False, "2"]),
        (Dial(0, "x", "bool"), [True, False], [0, 1, "true", None]),
        (Dial(0, "x", "choice", choices=["a", 1]), ["a", 1], ["b", True, None, ["a"]]),
        (Dial(0, "x", "text"), ["", "a"], [1, None, "x" * 9000]),
        (Dial(0, "x", "action"), [None], [1, "", False]),
    ],
)
def test_a_dial_takes_what_its_kind_and_bounds_say(dial, taken, refused):
    """And says of everything else why not."""
    assert [refusal(dial, value) for value in taken] == [None] * len(taken)
    assert all(isinstance(refusal(dial, value), str) for value in refused)
