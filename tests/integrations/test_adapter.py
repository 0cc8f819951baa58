"""The thinking all adapters share: which run, made when, ended how, found again where."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

import rundial as rd
from rundial.errors import ConfigError
from rundial.events import Marker, RunEnd
from rundial.integrations._adapter import Checkpoints, LazyRun, number, prefixed, take_older
from rundial.testing import MemoryTransport, capture_run
from tests.integrations.conftest import history

SILENT = {"mode": "disabled"}


def test_importing_integrations_loads_no_framework(script):
    """The package and its listing cost nothing; an unknown name is an AttributeError."""
    out, _ = script("""
        import sys
        import rundial.integrations as integrations
        assert "RundialLogger" in dir(integrations) and not hasattr(integrations, "Nonsense")
        print([m for m in ("torch", "lightning", "transformers", "keras", "numpy") if m in sys.modules])
    """).output()
    assert out == "[]\n"


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("RundialLogger", ["lightning", "pytorch_lightning"], "rundial[lightning]"),
        ("watch", ["torch"], "rundial[lightning]"),
    ],
)
def test_a_missing_framework_says_which_extra(script, name, missing, extra):
    """Without the framework the name raises an ImportError that can be acted on."""
    out, _ = script(f"""
        import sys
        for name in {missing!r}:
            sys.modules[name] = None
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {missing!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        for name in {missing!r}:
            del sys.modules[name]
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda name, package=None: None if name in {missing!r} else real(name, package)
        sys.meta_path.insert(0, Finder())
        try:
            from rundial.integrations import {name}
        except ImportError as error:
            print(error)
    """).output()
    assert extra in out


def test_a_mistake_in_the_settings_comes_at_once():
    """Not in the middle of a training: an unknown option, a wrong word, a run and settings at once."""
    with pytest.raises(ConfigError, match="unknown option 'projct'"):
        LazyRun(None, {"projct": "x"})
    with pytest.raises(ConfigError, match="resume must be one of"):
        LazyRun(None, {"resume": "perhaps"})
    with capture_run() as (run, _), pytest.raises(ConfigError, match="not both"):
        LazyRun(run, {"project": "x"})


def test_the_run_is_made_at_its_first_use():
    """Until then there is its id and what waits for it."""
    lazy = LazyRun(None, {**SILENT, "config": {"lr": 0.1}})
    wanted = lazy.id
    lazy.configure(Namespace(depth=3, hub_token="hf_secret"))
    assert not lazy.opened and rd.run is None
    assert lazy.run.id == wanted and lazy.run is lazy.run
    assert lazy.run.config == {"lr": 0.1, "depth": 3, "hub_token": "[redacted]"}
    lazy.configure({"late": True})
    assert lazy.run.config["late"] is True
    lazy.run.finish()


def test_the_users_current_run_is_used():
    """After rd.init() an adapter without settings logs to that run; one with settings makes its own."""
    run = rd.init(mode="disabled")
    assert LazyRun(None, {}).run is run
    other = LazyRun(None, SILENT)
    assert other.run is not run
    third = LazyRun(None, {})
    assert third.given is not other.run, "a run that an adapter made is not the user's"
    run.finish()


def test_copies_share_a_run(server):
    """What was copied or pickled before the run was made still logs to one run."""
    lazy = LazyRun(None, {"project": "copies"})
    twins = [copy.deepcopy(lazy), pickle.loads(pickle.dumps(lazy))]
    assert not lazy.opened
    assert {twin.run for twin in twins} == {lazy.run}
    lazy.run.finish(20)
    assert len(server.runs("copies")) == 1


def test_failing_ends_a_run_and_the_next_call_opens_it_again(server):
    """An exception marks the run failed with its traceback; going on after it goes on with the same run."""
    lazy = LazyRun(None, {"project": "failing"})
    lazy.run.log({"loss": 1.0}, step=0)
    try:
        raise ValueError("bad luck")
    except ValueError:
        lazy.fail()
    run = server.get(f"/api/v1/runs/{lazy.id}")
    assert (run["status"], run["reason"]) == ("failed", "ValueError: bad luck")
    assert "bad luck" in run["traceback"]
    assert lazy.run.status == "failed", "looking opens nothing"
    lazy.writable.log({"loss": 0.5}, step=1)
    assert server.get(f"/api/v1/runs/{lazy.id}")["status"] == "running"
    lazy.run.finish(20)
    assert server.get(f"/api/v1/runs/{lazy.id}")["status"] == "completed"
    assert history(server, lazy.id) == {0: {"loss": 1.0}, 1: {"loss": 0.5}}


def test_nothing_is_opened_while_the_process_ends(script):
    """What some other library logs at the very end does not begin an attempt that nobody ends."""
    out, _ = script("""
        import atexit
        atexit.register(lambda: print(lazy.writable.status))
        from rundial.integrations._adapter import LazyRun
        lazy = LazyRun(None, {"project": "late", "quiet": True})
        lazy.run.log({"loss": 1.0})
    """).output()
    assert out == "completed\n"


def test_ctrl_c_is_no_failure():
    """A run that was interrupted is aborted."""
    transport = MemoryTransport()
    with capture_run(transport) as (run, _):
        lazy = LazyRun(None, SILENT)
        lazy._run = run
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            lazy.fail()
    assert [event.status for event in transport.events if isinstance(event, RunEnd)] == ["aborted"]


def test_the_users_own_run_is_not_ended():
    """A run that was handed in gets a marker when a fit fails, and its user goes on with it."""
    with capture_run() as (run, server):
        lazy = LazyRun(run, {})
        lazy.fail((ValueError, ValueError("bad luck"), None))
        assert run.status == "running"
        assert lazy.run.log({"loss": 1.0})
    markers = [event for event in server.events if isinstance(event, Marker)]
    assert [(marker.kind, marker.name) for marker in markers] == [("failure", "ValueError: bad luck")]
    assert server.series("loss") == [1.0]


@pytest.mark.parametrize("end", ["running", "failed", "completed"])
def test_a_checkpoint_leads_back_to_its_run(server, end):
    """However the run ended, its state in a checkpoint opens it again and the steps go on."""
    first = LazyRun(None, {"project": "resumed"})
    first.run.log({"loss": 1.0}, step=41)
    state = pickle.loads(pickle.dumps(first.state()))
    first.run.flush(20)
    if end != "running":
        first.run.finish(20, status=end)
    second = LazyRun(None, {"project": "resumed"})
    second.restore(state)
    assert second.id == first.id
    second.run.log({"loss": 0.5})
    second.run.finish(20)
    assert history(server, first.id)[42 if end != "running" else max(history(server, first.id))] == {"loss": 0.5}
    assert server.get(f"/api/v1/runs/{first.id}")["status"] == "completed"


def test_a_checkpoint_of_elsewhere_begins_the_run_here(server):
    """A checkpoint whose run this server does not know makes a run of that id instead of none."""
    elsewhere = {"run_id": "run_from_elsewhere", "server": "https://other.example"}
    lost = {"run_id": "run_that_was_deleted", "server": server.url}
    for state in (elsewhere, lost):
        lazy = LazyRun(None, {"project": "moved"})
        lazy.restore(state)
        lazy.run.log({"loss": 1.0}, step=7)
        lazy.run.finish(20)
        assert history(server, state["run_id"]) == {7: {"loss": 1.0}}


def test_what_the_user_chose_wins_over_a_checkpoint():
    """A run handed in, an id or a resume of one's own stay; strange states are nothing."""
    state = {"run_id": "run_x", "server": "s"}
    with capture_run() as (run, _):
        for lazy in (
            LazyRun(run, {}),
            LazyRun(None, {**SILENT, "run_id": "mine"}),
            LazyRun(None, {**SILENT, "resume": "never"}),
        ):
            before = lazy.id
            lazy.restore(state)
            assert lazy.id == before
    lazy = LazyRun(None, SILENT)
    before = lazy.id
    for strange in (None, 3, {}, {"run_id": 7}, "run_x"):
        lazy.restore(strange)
    assert lazy.id == before


def test_too_late_for_a_checkpoint():
    """A run that has been logged to stays; a warning says what to do."""
    lazy = LazyRun(None, SILENT)
    assert lazy.run.status == "running"
    with pytest.warns(RuntimeWarning, match="Pass run_id='run_x', resume='must'"):
        lazy.restore({"run_id": "run_x", "server": "s"})
    assert lazy.id != "run_x"


def test_a_server_that_refuses_costs_nothing(server, monkeypatch):
    """With a wrong key training goes on; what it logs is on disk and arrives once the key is right."""
    monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_wrong")
    lazy = LazyRun(None, {"project": "refused"})
    with pytest.warns(RuntimeWarning, match="Training goes on"):
        lazy.run.log({"loss": 1.0}, step=3)
    lazy.run.finish()
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    assert os.system(f"{sys.executable} -m rundial sync > /dev/null") == 0
    assert history(server, lazy.id) == {3: {"loss": 1.0}}


def test_a_broken_home_costs_nothing(monkeypatch):
    """Where no run can be made at all, training goes on without one."""
    import rundial.runs

    real = rundial.runs.init

    def broken(**arguments: object) -> object:
        if arguments.get("mode") != "disabled":
            raise OSError(28, "No space left on device")
        return real(**arguments)

    monkeypatch.setattr(rundial.runs, "init", broken)
    lazy = LazyRun(None, {"project": "x"})
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert lazy.run.log({"loss": 1.0})
    lazy.run.finish()


def test_a_checkpoint_counts_anew_when_it_was_written_again():
    """The same path is new after each writing, in place or by rename, and when it is gone there is nothing."""
    checkpoints, path = Checkpoints(), Path("last.ckpt")
    assert not checkpoints.is_new("last.ckpt") and not checkpoints.is_new("")
    with capture_run() as (run, _):

        def store() -> bool:
            return checkpoints.store(run, "last.ckpt", name="model", step=1)

        path.write_bytes(b"one")
        assert (store(), store()) == (True, False)
        time.sleep(0.01)
        path.write_bytes(b"two")
        assert (store(), store()) == (True, False)
        Path("new").write_bytes(b"two")
        Path("new").rename(path)
        assert (store(), store()) == (True, False)
        path.unlink()
        assert not store()


def test_numbers_and_names():
    """A score in a tensor becomes a number, a prefix goes before each name, older words are understood."""
    import numpy as np

    assert number(np.float32(0.5)) == 0.5 and number(None) is None and number("x") == "x"
    assert number(np.zeros(3)) == "[0. 0. 0.]"
    assert prefixed({"loss": 1}, "run", "-") == {"run-loss": 1}
    settings = {"metric_prefix": "p", "log_checkpoints": True, "keep_last_checkpoints": 3, "finish_on_end": True}
    assert take_older({**settings}) == ("p", "all", 3)
    assert take_older({"log_checkpoints": False}) == ("", False, None)
