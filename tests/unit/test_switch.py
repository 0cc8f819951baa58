"""Logging switched on and off."""

from pathlib import Path

import pytest

import rundial as rd
from rundial.testing import capture_run


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
