"""A run's summary."""

from rundial.events import RunUpdate
from rundial.testing import capture_run


def test_summary_is_a_mapping_and_a_call():
    """summary["x"] = 1, summary({...}) and update() all say the same thing."""
    with capture_run() as (run, server):
        run.summary["best"] = 0.9
        run.summary({"epochs": 3})
        run.summary.update(done=True)
        run.finish(5)
    assert dict(run.summary) == {"best": 0.9, "epochs": 3, "done": True}
    updates = [event.summary for event in server.events if isinstance(event, RunUpdate)]
    assert updates == [{"best": 0.9}, {"epochs": 3}, {"done": True}]
