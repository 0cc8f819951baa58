"""The end of a run, and what comes after it."""

import pytest

from rundial.events import Ledger, RunEnd
from rundial.testing import capture_run


def ends(server):
    return [(event.status, event.reason) for event in server.events if isinstance(event, RunEnd)]


def test_the_end_comes_last_and_only_once():
    """The stream ends with the client's account and the status; a second finish changes nothing."""
    with capture_run() as (run, server):
        run.log({"x": 1})
        assert run.fail("out of patience")
        assert run.finish(status="completed")
    assert isinstance(server.events[-2], Ledger)
    assert server.events[-2].logged == 2
    assert (server.events[-1].status, server.events[-1].reason) == ("failed", "out of patience")
    assert run.status == "failed"


def test_logging_after_the_end_is_counted():
    """A finished run drops what comes, says so once and counts it."""
    with capture_run() as (run, _):
        run.finish(5)
        with pytest.warns(RuntimeWarning, match="is finished") as warned:
            assert run.log({"x": 1}) is False
            assert run.log({"x": 2}) is False
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, ("completed", None)),
        (ValueError("bad luck"), ("failed", "ValueError: bad luck")),
        (KeyboardInterrupt(), ("aborted", "KeyboardInterrupt")),
        (SystemExit(0), ("completed", None)),
        (SystemExit(3), ("failed", "SystemExit: 3")),
    ],
)
def test_a_with_block_ends_the_run_as_it_went(error, end):
    """Leaving the block tells how it went, and swallows nothing."""
    with capture_run() as (run, server):
        try:
            with run:
                if error is not None:
                    raise error
        except BaseException as caught:  # noqa: BLE001 - SystemExit is one of them
            assert caught is error
    assert ends(server) == [end]


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
