"""RundialTracker in a real Accelerator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker

from rundial.events import RunUpdate
from rundial.integrations import RundialTracker
from rundial.testing import capture_run
from tests.flows.conftest import ServerProcess
from tests.integrations.conftest import history, succeed
from tests.integrations.tiny_transformers import launched_by
from tests.unit.store_server import StoreServer

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]


class Remembering(GeneralTracker):  # type: ignore[misc]
    """Accelerate's own way to keep what is logged, to compare with."""

    name = "remembering"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[int, dict[str, Any]] = {}

    @property
    def tracker(self) -> Any:
        return self.history

    def store_init_configuration(self, values: Any) -> None:
        self.config = values

    def log(self, values: Any, step: int | None = None, **kwargs: Any) -> None:
        self.history.setdefault(step or 0, {}).update(values)


def train(accelerator: Any, steps: range) -> None:
    """A loop as users write it: a loss for each step, a validation at every second."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in steps:
        loss = (model(torch.ones(2, 4)) ** 2).mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.log({"loss": loss.item(), "lr": 0.1}, step=step)
        if step % 2:
            accelerator.log({"val_loss": loss.item() / 2}, step=step)


def test_a_loop_by_name(server: ServerProcess) -> None:
    """log_with="rundial": the history is that of another tracker beside it, and end_training ends the run."""
    beside = Remembering()
    accelerator = Accelerator(cpu=True, log_with=["rundial", beside])
    accelerator.init_trackers(
        "accelerated",
        config={"lr": 0.1, "hub_token": "hf_secret", "layers": [4, 1]},
        init_kwargs={"rundial": {"name": "by name", "tags": ["cpu"]}},
    )
    train(accelerator, range(6))
    run = accelerator.get_tracker("rundial", unwrap=True)
    assert run.status == "running"
    accelerator.end_training()
    assert history(server, run.id) == beside.history
    (found,) = server.runs("accelerated")
    assert (found["status"], found["runName"], found["tags"]) == ("completed", "by name", ["cpu"])
    assert found["config"] == {"lr": 0.1, "hub_token": "[redacted]", "layers": [4, 1]}


def test_an_instance_and_a_run_of_the_users_own() -> None:
    """A tracker that is passed itself logs to the run it was given, whose end is the user's."""
    with capture_run() as (run, memory):
        accelerator = Accelerator(cpu=True, log_with=RundialTracker(run=run))
        accelerator.init_trackers("any", config={"lr": 0.1})
        accelerator.log({"loss": 1.0}, log_kwargs={"rundial": {"stage": "warm"}})
        accelerator.log({"loss": 2.0}, step=7)
        accelerator.end_training()
        assert run.status == "running"
    assert (memory.series("loss"), memory.steps("loss")) == ([1.0, 2.0], [0, 7])
    assert [event.config for event in memory.events if isinstance(event, RunUpdate)] == [{"lr": 0.1}]


def test_images_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """log_images takes lists by name, log_table columns and rows; what is no image is a warning."""
    with StoreServer() as store:
        monkeypatch.setenv("RUNDIAL_ENDPOINT", store.url)
        monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_x")
        tracker = RundialTracker("media", quiet=True)
        tracker.log_images({"samples": [np.zeros((4, 5)), torch.ones(3, 4, 5)]}, step=3, caption="both")
        tracker.log_table("words", columns=["word", "count"], data=[["dial", 3]], step=4)
        with pytest.warns(RuntimeWarning, match="images of wrong were not logged"):
            tracker.log_images({"wrong": [np.zeros((4, 5))]}, nonsense=1)
        tracker.finish()
        found = [(v["media"]["key"], v["media"]["step"], v["media"]["mediaType"]) for v in store.versions]
    assert sorted(found) == [("samples", 3, "image"), ("samples", 3, "image"), ("words", 4, "table")]


def test_a_saved_state_goes_on_with_its_run(server: ServerProcess) -> None:
    """register_for_checkpointing: load_state in another Accelerator logs to the run that save_state wrote down."""
    first = RundialTracker("resumed")
    accelerator = Accelerator(cpu=True, log_with=first)
    accelerator.init_trackers("resumed", config={"attempt": 1})
    accelerator.register_for_checkpointing(first)
    train(accelerator, range(3))
    accelerator.save_state("state")
    accelerator.end_training()

    second = RundialTracker("resumed")
    accelerator = Accelerator(cpu=True, log_with=second)
    accelerator.init_trackers("resumed", config={"attempt": 2})
    accelerator.register_for_checkpointing(second)
    accelerator.load_state("state")
    train(accelerator, range(3, 6))
    accelerator.end_training()
    (run,) = server.runs("resumed")
    assert (run["runId"], run["config"], run["status"]) == (first.run.id, {"attempt": 2}, "completed")
    assert [step for step, _ in server.points(run["runId"], "loss")] == list(range(6))


def test_two_processes_are_one_run(
    server: ServerProcess, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process logs; the calls of the others do nothing."""
    code = """
    import rundial.integrations
    from accelerate import Accelerator
    accelerator = Accelerator(cpu=True, log_with="rundial")
    accelerator.init_trackers("distributed", config={"processes": accelerator.num_processes})
    for step in range(3):
        accelerator.log({"rank": accelerator.process_index}, step=step)
    accelerator.end_training()
    """
    for name, value in launched_by(2).items():
        monkeypatch.setenv(name, value)
    started = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        started.append(program(code))
    for process in started:
        succeed(process)
    (run,) = server.runs("distributed")
    assert (run["config"], run["status"]) == ({"processes": 2}, "completed")
    assert server.points(run["runId"], "rank") == [(0, 0.0), (1, 0.0), (2, 0.0)]


def test_without_a_server() -> None:
    """What is logged waits on the disk; nothing reaches the loop."""
    accelerator = Accelerator(cpu=True, log_with="rundial")
    accelerator.init_trackers("alone", init_kwargs={"rundial": {"quiet": True}})
    train(accelerator, range(3))
    accelerator.end_training()
    assert list(Path(".rundial_spool").glob("*"))
