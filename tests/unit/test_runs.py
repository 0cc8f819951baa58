"""``Run``: what a script touches beside ``log()``."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import rundial as rd
from rundial import current
from rundial.events import Marker, RunUpdate
from rundial.testing import capture_run


def of_kind(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def test_disabled_does_nothing(tmp_path):
    """mode="disabled" and silent ranks accept everything and leave nothing."""
    for options in ({"mode": "disabled"}, {"distributed_rank": 3}):
        run = rd.init(**options)
        assert run.log({"x": object()})
        assert run.summary.update(a=1) is None
        assert run.finish()
        assert run.diagnostics().health == "disabled"
    assert not (tmp_path / "home").exists()
    assert list((tmp_path / "work").iterdir()) == []


def test_a_pickled_handle_opens_nothing_until_it_logs():
    """A run that travels costs nothing where it is not used."""
    run = rd.init(quiet=True)
    code = """if True:
        import pickle, sys, threading
        run = pickle.loads(sys.stdin.buffer.read())
        print(run.id, threading.active_count(), run.finish())
    """
    handle = pickle.dumps(run)
    answer = subprocess.run([sys.executable, "-c", code], input=handle, capture_output=True, check=True)
    run.finish()
    assert answer.stdout.decode() == f"{run.id} 1 True\n"


def test_events_are_markers():
    """A name, a step or none, a kind, and plain attributes."""
    with capture_run() as (run, server):
        assert run.event("reshuffled", step=2.0, seed=7, where=Path("/data"))
        assert run.event("saved", kind="checkpoint")
        assert run.event("", step=None)
        run.finish(5)
    assert [(m.kind, m.name, m.step, m.attrs) for m in of_kind(server, Marker)] == [
        ("event", "reshuffled", 2, {"seed": 7, "where": "/data"}),
        ("checkpoint", "saved", None, {}),
        ("event", "(empty)", None, {}),
    ]


def test_an_event_at_no_step_is_counted():
    """A step that is none refuses the marker, once warned, never raised."""
    with capture_run() as (run, server), pytest.warns(RuntimeWarning, match="no integer"):
        assert run.event("x", step="late") is False
        run.finish(5)
    assert (of_kind(server, Marker), run.diagnostics().invalid_values) == ([], 1)


def test_alerts_are_markers_and_lines(monkeypatch):
    """People see it on the charts and in the log; a level that is none is a warning in the log."""
    with capture_run() as (run, server):
        monkeypatch.setattr(current, "_current", run)
        assert rd.alert("loss rises", "for 3 epochs", level="warn", step=3)
        run.alert("odd", level="loud")
        run.finish(5)
    assert [(m.kind, m.name, m.step, m.attrs) for m in of_kind(server, Marker)] == [
        ("alert", "loss rises", 3, {"text": "for 3 epochs", "level": "warn"}),
        ("alert", "odd", None, {"text": "", "level": "loud"}),
    ]
    lines = [(event.level, event.message) for event in server.events if type(event).__name__ == "LogLine"]
    assert lines == [("warn", "loss rises: for 3 epochs"), ("warn", "odd")]


def test_it_can_be_named_again():
    """rename, set_tags and set_notes; an empty name changes nothing."""
    with capture_run() as (run, server):
        run.rename("  better ")
        run.rename("")
        run.set_tags(("a", "b", "a"))
        run.set_notes("x" * 200_000)
        run.finish(5)
    assert (run.name, run.tags, len(run.notes)) == ("better", ("a", "b", "a"), 100_000)
    updates = of_kind(server, RunUpdate)
    assert [update.name for update in updates if update.name] == ["better", "better"]
    assert [len(update.notes) for update in updates if update.notes] == [100_000]


@pytest.mark.parametrize("mode", ["best", "", "MAX", None])
def test_a_primary_metric_needs_a_mode(mode):
    """max or min: anything else is a mistake in the call."""
    with capture_run() as (run, _), pytest.raises(rd.ConfigError, match="max, min"):
        run.set_primary_metric("loss", mode)
