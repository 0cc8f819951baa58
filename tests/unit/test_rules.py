"""Rules that act by themselves: how their conditions are understood, when they hold, and what they do."""

import math
import time

import pytest

import rundial as rd
from rundial.control.condition import Logged, parse
from rundial.errors import ConfigError
from rundial.events import Ack, Dial, LogLine, Marker
from rundial.testing import capture_run

NAN, INF = math.nan, math.inf


def truths(text, *calls):
    """What a condition says after each call of ``log()``, given as a mapping; the step counts them."""
    condition, values, found = parse(text), {}, []
    for step, call in enumerate(calls):
        values |= call
        found.append(condition.ask(Logged(values, frozenset(call), step)))
    return found


@pytest.mark.parametrize(
    "text, values, holds",
    [
        ("loss > 10", {"loss": 10.5}, True),
        ("loss > 10", {"loss": 10}, False),
        ("loss >= 1e1", {"loss": 10}, True),
        ("loss < -.5", {"loss": -1}, True),
        ("loss<=+2", {"loss": 2}, True),
        ("loss == 3", {"loss": 3}, True),
        ("loss != 3", {"loss": 3}, False),
        ("loss is nan", {"loss": NAN}, True),
        ("loss is nan", {"loss": INF}, False),
        ("loss is inf", {"loss": -INF}, True),
        ("loss is finite", {"loss": 1}, True),
        ("loss is not finite", {"loss": NAN}, True),
        ("loss > 10", {"loss": NAN}, False),
        ("loss > 10", {"other": 11}, None),
        ("not loss > 10", {"other": 11}, None),
        ("not (loss > 10)", {"loss": 1}, True),
        ("val/loss > train.loss", {"val/loss": 2, "train.loss": 1}, True),
        ("val-loss:0 > 1", {"val-loss:0": 2}, True),
        ("'val loss' > 1 and \"for\" > 1 and `is` > 1", {"val loss": 2, "for": 2, "is": 2}, True),
        ("a > 1 or b > 1 and c > 1", {"a": 2, "b": 0, "c": 0}, True),
        ("(a > 1 or b > 1) and c > 1", {"a": 2, "b": 0, "c": 0}, False),
        ("a > 1 or b > 1", {"a": 2}, True),
        ("a > 1 and b > 1", {"a": 0}, False),
        ("a > 1 and b > 1", {"a": 2}, None),
        ("Verlust_ü > 1", {"Verlust_ü": 2}, True),
    ],
)
def test_conditions(text, values, holds):
    """Precedence is that of Python; what was never logged is neither true nor false."""
    assert truths(text, values) == [holds]


def test_a_condition_that_must_hold_for_some_steps():
    """``for`` belongs to the comparison or the parentheses before it, and counts steps at which they were logged."""
    high, low, other = {"loss": 11}, {"loss": 9}, {"lr": 1}
    assert truths("loss > 10 for 2 steps", high, high, low, high, other, high) == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    assert truths("loss is nan or loss > 10 for 3 steps", high, high, {"loss": NAN}) == [False, False, True]
    assert truths("(loss is nan or loss > 10) for 2 steps", {"loss": NAN}, high) == [False, True]
    condition = parse("loss > 10 for 2 steps")
    same = [condition.ask(Logged({"loss": 11}, frozenset({"loss"}), 5)) for _ in range(3)]
    assert same == [False, False, False]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "must be a text"),
        (None, "must be a text"),
        ("loss", "a comparison"),
        ("loss >", "at its end: a number or a metric"),
        ("loss > 10 for steps", "at 'steps': a whole number"),
        ("loss > 10 for 0 steps", "a whole number"),
        ("loss > 10 for 2.5 steps", "a whole number"),
        ("loss > 10 for 3 epochs", "at 'epochs': 'steps'"),
        ("loss is great", "'nan', 'inf' or 'finite'"),
        ("loss > 10 lr", "at 'lr': 'and', 'or', 'for'"),
        ("(loss > 10", "')' was expected"),
        ("loss > 10 and", "a metric was expected"),
        ("loss = 10", "at '= 10'"),
        ("__import__('os').system('x')", "a comparison"),
        ("loss > 10; x", "at '; x'"),
        ("(" * 80 + "a > 1" + ")" * 80, "less nesting"),
        ("not " * 80 + "a > 1", "less nesting"),
        ("a > 1 or " * 500 + "a > 1", "at most"),
    ],
)
def test_a_mistake_is_said_at_the_call(text, words):
    """With the place where it is, and what belongs there."""
    with capture_run() as (run, _), pytest.raises(ConfigError) as caught:
        run.rule(text, "alert")
    assert words in str(caught.value)


@pytest.mark.parametrize("do", ["", None, {}, [], 3, {"lr": [1]}, {"": 1}, {"lr": None}])
def test_what_is_to_be_done_must_be_something(do):
    """An action or dials with values."""
    with capture_run() as (run, _), pytest.raises(ConfigError):
        run.rule("loss > 1", do)


@pytest.fixture
def job():
    """A run whose worker looks often, with a dial and a stop."""
    state = {"lr": 0.1, "stop": False}
    with capture_run(flush_interval_seconds=0.02) as (run, server):
        run.dial("lr", lambda: state["lr"], lambda value: state.update(lr=value), min=0.0, max=1.0)
        run.dial("stop", set=lambda: state.update(stop=True))
        yield run, server, state


def train(run, values, seconds=10):
    """Log the values, then poll until a command was answered; the answers."""
    for step, value in enumerate(values):
        run.log({"loss": value}, step=step)
    until = time.monotonic() + seconds
    while not (acks := run.poll()):
        assert time.monotonic() < until, "no rule acted"
        time.sleep(0.005)
    return acks


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def test_a_rule_stops_the_run(job):
    """At the poll, not in the worker; the run says so, and it is answered like any command."""
    run, server, state = job
    run.rule("loss is nan or loss > 10 for 3 steps", "stop")
    (ack,) = train(run, [11, 11, 9, 11, math.nan])
    assert (state["stop"], ack.status) == (True, "applied")
    assert ack.author == "rule: loss is nan or loss > 10 for 3 steps"
    assert ack.reason == "loss = nan at step 4"
    run.finish(5)
    assert told(server, Ack) == [ack]
    (marker,) = [marker for marker in told(server, Marker) if marker.kind == "control"]
    assert (marker.name, marker.attrs["by"]) == ("stop", ack.author)
    assert server.events[-1].reason == f"stopped by {ack.author}: {ack.reason}"


def test_a_rule_sets_a_dial_once_until_it_has_ceased_to_hold(job):
    """Twice here: after the loss was low in between."""
    run, _, state = job
    run.rule("loss > 10", {"lr": 0.01}, name="calm down")
    train(run, [1, 11, 12, 13])
    assert state["lr"] == 0.01
    state["lr"] = 0.1
    acks = train(run, [14, 1, 11])
    assert ([ack.author for ack in acks], state["lr"]) == (["calm down"], 0.01)
    assert acks[0].reason == "loss > 10: loss = 11 at step 2"


def test_the_bounds_of_a_dial_hold_for_rules(job):
    """What it does not take is rejected, and so is a dial that is not there."""
    run, _, state = job
    run.rule("loss > 10", {"lr": 7.0, "momentum": 0.5})
    acks = train(run, [11])
    assert {ack.name: ack.status for ack in acks} == {"lr": "rejected", "momentum": "rejected"}
    assert state["lr"] == 0.1


def test_an_alert_needs_no_poll(job):
    """A marker, a line in the log, and a row among the commands."""
    run, server, _ = job
    run.rule("acc < 0.5", "alert", name="bad accuracy")
    run.log({"acc": 0.25}, step=3)
    run.finish(5)
    (marker,) = [marker for marker in told(server, Marker) if marker.kind == "alert"]
    assert (marker.name, marker.step) == ("bad accuracy", 3)
    assert marker.attrs == {"text": "acc < 0.5: acc = 0.25 at step 3", "level": "warn"}
    (ack,) = told(server, Ack)
    assert (ack.name, ack.status, ack.author) == ("alert", "applied", "bad accuracy")
    assert "bad accuracy" in told(server, LogLine)[-1].message


def test_a_rule_has_a_switch(job):
    """A dial that people see; turned off, the rule does nothing."""
    run, server, state = job
    switch = run.rule("loss > 10", "stop")
    command = {"commandId": "cmd_1", "place": 1, "name": switch.name, "value": False, "leftMs": 60_000}
    run._board.arrive([command])
    run.poll()
    run.rule("loss > 10", {"lr": 0.5}, name="second")
    assert [ack.name for ack in train(run, [1, 11])] == ["lr"]
    assert not state["stop"]
    run.finish(5)
    (first, *_) = [dial for dial in told(server, Dial) if dial.name == "rule: loss > 10"]
    assert (first.kind, first.value, first.description) == ("bool", True, "loss > 10: stop")


def test_rules_of_a_run_that_logs_nothing():
    """Are taken and do nothing; without a run there is nothing to rule."""
    silent = rd.init(mode="disabled")
    assert silent.rule("loss > 1", "stop").value is True
    assert silent.log({"loss": 2.0}) is True
    silent.finish()
    with pytest.raises(ConfigError, match="init"):
        rd.rule("loss > 1", "alert")
