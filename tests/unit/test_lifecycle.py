"""What a run is called, what happens to it, and how it is switched off."""

import argparse
import dataclasses
import sys
from pathlib import Path

import pytest

import rundial as rd
from rundial import runs
from rundial.events import Marker, Metrics, RunStart, RunUpdate
from rundial.testing import capture_run


def of_kind(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def started(**options):
    """A run that is on its way to nowhere."""
    return rd.init(mode="offline", quiet=True, **options)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cv/resnet50/baseline", "cv/resnet50/baseline"),
        ("\\a\\b/", "a/b"),
        ("/", ""),
        (None, None),
        ("x" * 200, "x" * 200),
    ],
)
def test_a_path_is_normalised(given, kept):
    """Backslashes are slashes, slashes at the ends go, a slash alone is the root."""
    with started(path=given) as run:
        assert (run.path, run._begin.path) == (kept, kept)


@pytest.mark.parametrize("path", ["..", "a/../b", "a b", "ä", "a.b", "x" * 201])
def test_an_odd_path_is_refused(path):
    """It is a mistake in the call, and nothing is made."""
    with pytest.raises(rd.ConfigError, match="cannot be used"):
        started(path=path)
    assert not Path(".rundial_spool").exists()


def test_alias_and_notes_are_in_the_first_record():
    """They are texts, whatever they were."""
    with started(alias=7, notes="why", group=1, job_type="eval", tags=["a", "a", "b"]) as run:
        assert (run._begin.alias, run._begin.notes, run._begin.group, run._begin.job_type) == ("7", "why", "1", "eval")
        assert (run.alias, run.notes) == ("7", "why")


def test_switched_off_and_on_again(monkeypatch):
    """Calls, a block and the environment switch off what begins from there on; the nearest wins, and errors undo."""
    assert rd.is_enabled()
    monkeypatch.setenv("RUNDIAL_ON", "no")
    assert not rd.is_enabled()
    with rd.enabled(True):
        assert rd.is_enabled()
        with pytest.raises(KeyError), rd.enabled(False):
            assert not rd.is_enabled()
            raise KeyError
        assert rd.is_enabled()
    assert not rd.is_enabled()
    rd.set_enabled(True)
    try:
        assert rd.is_enabled()
        rd.set_enabled(False)
        run = rd.init(project="off", path="a/b")
        assert (run.mode, run.path, run.log(loss=1), run.event("x"), run.log_text("x")) == (
            "disabled",
            "a/b",
            True,
            True,
            True,
        )
        assert (run.rename("n"), run.set_tags(["t"]), run.set_notes("n"), run.finish()) == (True,) * 4
    finally:
        rd.reset_enabled()
    monkeypatch.setenv("RUNDIAL_ON", "maybe")
    with pytest.raises(rd.ConfigError, match="RUNDIAL_ON"):
        rd.init(project="off")
    assert not Path(".rundial_spool").exists()


def test_a_run_that_began_goes_on_when_switched_off():
    """Switching off is for what begins afterwards."""
    with capture_run() as (run, server):
        with rd.enabled(False):
            run.log(loss=1)
        run.finish(5)
    assert server.series("loss") == [1]


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
        monkeypatch.setattr(runs, "_current", run)
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


@dataclasses.dataclass
class Options:
    lr: float = 0.1
    hub_token: str = "hush"


def test_configuration_from_everywhere():
    """Parsed arguments, dataclasses and more; ints stay ints, lists stay, later values win, secrets go."""
    with capture_run() as (run, server):
        assert run.log_config(args=argparse.Namespace(depth=3, api_key="hush"), extra={"depth": 4, "sizes": [1, 2]})
        assert run.log_config(Options())
        assert run.log_config(extra={"nested": {"db_password": "hush", "max_tokens": 7}})
        with pytest.warns(RuntimeWarning, match="must be a mapping"):
            assert not run.log_config(args=3)
        run.finish(5)
    assert run.config == {
        "depth": 4,
        "api_key": "[redacted]",
        "sizes": [1, 2],
        "lr": 0.1,
        "hub_token": "[redacted]",
        "nested": {"db_password": "[redacted]", "max_tokens": 7},
    }
    assert type(run.config["depth"]) is int
    assert "hush" not in str(server.events)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["train.py", "--api-key", "hush", "--lr", "0.1"], "train.py --api-key [redacted] --lr 0.1"),
        (["train.py", "--hub_token=hush", "x"], "train.py --hub_token=[redacted] x"),
        (["train.py", "--api-key", "--verbose"], "train.py --api-key --verbose"),
        (["train.py", "--max-tokens", "7"], "train.py --max-tokens 7"),
    ],
)
def test_the_command_line_has_no_secrets(monkeypatch, arguments, shown):
    """What follows an option that names a secret is not kept."""
    monkeypatch.setattr(sys, "argv", arguments)
    with started() as run:
        assert run._begin.system["command"] == shown


def test_secrets_are_not_in_the_first_record():
    """Neither in it nor in the run's own config."""
    with started(config={"lr": 1, "api_key": "hush", "list_of_tokens": ["a"], "wandb": {"secret": "hush"}}) as run:
        assert run.config == {
            "lr": 1,
            "api_key": "[redacted]",
            "list_of_tokens": ["a"],
            "wandb": {"secret": "[redacted]"},
        }
        assert "hush" not in str(run._begin)


def test_log_metric_takes_either_name_for_its_time():
    """time_ms and timestamp_ms are the same, and time_ms wins."""
    with capture_run() as (run, server):
        run.log_metric("loss", 0.5, step=1, timestamp_ms=1_700_000_000_000)
        run.log_metric("loss", 0.4, step=2, time_ms=1_700_000_000_001, timestamp_ms=1)
        run.log_metric("loss", 0.3, context={"split": "eval"})
        run.finish(5)
    assert [(m.time_ns, m.step) for m in of_kind(server, Metrics)][:2] == [
        (1_700_000_000_000_000_000, 1),
        (1_700_000_000_001_000_000, 2),
    ]
    assert of_kind(server, Metrics)[2].context == {"split": "eval"}


@pytest.mark.parametrize("moment", ["yesterday", -1, float("nan"), 1e300])
def test_a_time_that_is_none_is_now(moment):
    """The value is kept, the time is now, and it is counted."""
    with capture_run() as (run, server), pytest.warns(RuntimeWarning, match="no Unix time"):
        assert run.log_metric("loss", 0.5, timestamp_ms=moment)
        run.finish(5)
    (record,) = of_kind(server, Metrics)
    assert record.time_ns > 1_600_000_000_000_000_000
    assert run.diagnostics().invalid_values == 1


def test_after_the_end_every_call_is_refused_quietly():
    """One warning, a count for each, and no exception."""
    with capture_run() as (run, server):
        run.finish(5)
        before = len(server.events)
        with pytest.warns(RuntimeWarning, match="is finished") as warned:
            answers = [
                run.log(loss=1),
                run.log_text("x"),
                run.event("x"),
                run.alert("x"),
                run.rename("x"),
                run.set_tags(["x"]),
                run.set_notes("x"),
                run.update_config({"x": 1}),
                run.log_config(extra={"x": 1}),
                run.checkpoint("x"),
                run.log_artifact("x"),
            ]
            run.summary["x"] = 1
            run.set_primary_metric("x")
    assert answers == [False] * len(answers)
    assert (len(server.events), len(warned)) == (before, 1)
    assert run.diagnostics().balanced


def test_the_first_record_has_what_identifies_the_run():
    """Kind, host, process and the client, and no more than a page of it."""
    with capture_run() as (run, server):
        run.finish(5)
    assert isinstance(server.events[0], RunStart)
