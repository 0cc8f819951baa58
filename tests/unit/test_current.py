"""The current run."""

import pytest

import rundial as rd


def test_the_current_run():
    """rd.run, rd.log and rd.finish speak to the run that was started last."""
    assert rd.run is None
    with pytest.raises(rd.ConfigError, match=r"call rundial\.init"):
        rd.log({"x": 1})
    run = rd.init(quiet=True)
    assert rd.run is run
    assert rd.log({"x": 1}, step=3)
    rd.finish()
    assert rd.run is None
    assert run.status == "completed"
