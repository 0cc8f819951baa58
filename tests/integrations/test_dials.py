"""The dials that a training gets for free in each framework, turned over HTTP while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import ServerProcess
from tests.integrations.conftest import succeed
from tests.integrations.test_keras import MODEL as KERAS
from tests.integrations.test_lightning import MODEL as LIGHTNING
from tests.integrations.tiny_transformers import launched_by

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

HERE = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"


def turn(server: ServerProcess, run_id: str, name: str, value: Any = None, status: str = "applied") -> dict[str, Any]:
    """Send a command and wait for what becomes of it."""
    body = {"name": name, "value": value, "reason": "to see"}
    sent = server._session.post(f"{server.url}/api/v1/runs/{run_id}/commands", json=body, timeout=20)
    sent.raise_for_status()
    command = sent.json()
    deadline = time.monotonic() + 60
    while command["status"] in ("pending", "delivered"):
        assert time.monotonic() < deadline, command
        time.sleep(0.05)
        command = server.get(f"/api/v1/runs/{run_id}/commands/{command['commandId']}")
    assert command["status"] == status, command
    return dict(command)


def dials(server: ServerProcess, run_id: str) -> dict[str, Any]:
    """What the run offers, by name, once it has begun."""
    deadline = time.monotonic() + 60
    while True:
        answer = server._session.get(f"{server.url}/api/v1/runs/{run_id}/dials", timeout=20)
        found = answer.json()["dials"] if answer.ok else []
        if any(dial["name"] == "stop" for dial in found):
            return {dial["name"]: dial["value"] for dial in found}
        assert time.monotonic() < deadline, "the training offers no dials"
        time.sleep(0.05)


def marked(server: ServerProcess, run_id: str, name: str) -> list[int]:
    """The steps at which a dial was turned."""
    markers = server.get(f"/api/v1/runs/{run_id}/markers")["markers"]
    return [marker["step"] for marker in markers if (marker["kind"], marker["name"]) == ("control", name)]


def values_around(server: ServerProcess, run_id: str, key: str, step: int) -> tuple[set[float], set[float]]:
    """What was logged before ``step``, and from there on."""
    points = [(at, round(value, 6)) for at, value in server.points(run_id, key)]
    return {value for at, value in points if at < step}, {value for at, value in points if at >= step}


FIT = """
class Watched(Tiny):
    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)

logger = RundialLogger(project="dials", run_id=sys.argv[1])
saver = callbacks.ModelCheckpoint(dirpath="kept", monitor=None)
trainer = pl.Trainer(
    logger=logger, max_steps=2000, log_every_n_steps=1, check_val_every_n_epoch=1000, callbacks=[saver],
    num_sanity_val_steps=0, **QUIET
)
trainer.fit(Watched(), data(100), data(2))
print(trainer.global_step, sorted(os.listdir("kept")), trainer.state.status.value)
logger.run.finish()
"""


@pytest.mark.skipif(find_spec("lightning") is None, reason="Lightning is not here")
def test_lightning(server: ServerProcess, program: Callable[..., Any]) -> None:
    """A rate changes at the marked step; checkpoint, validation and cadence are had at once; stop ends the fit."""
    job = program(LIGHTNING + "\nif __name__ == '__main__':\n" + indented(FIT), "run_lightning")
    found = dials(server, "run_lightning")
    names = "evaluate grad_clip log_every lr lr_multiplier save_checkpoint stop weight_decay"
    assert sorted(found) == names.split()
    assert (found["lr"], found["lr_multiplier"], found["grad_clip"], found["log_every"]) == (0.1, 1.0, 0.0, 1)

    turn(server, "run_lightning", "lr", 0.02)
    turn(server, "run_lightning", "lr_multiplier", 0.1)
    turn(server, "run_lightning", "grad_clip", 0.5)
    turn(server, "run_lightning", "weight_decay", 0.01)
    turn(server, "run_lightning", "save_checkpoint")
    turn(server, "run_lightning", "evaluate")
    turn(server, "run_lightning", "log_every", 5)
    stopped = turn(server, "run_lightning", "stop")
    steps, rest = succeed(job).split(" ", 1)

    assert int(steps) < 2000
    assert "dial-step=" in rest and "finished" in rest
    (first,), (second,) = marked(server, "run_lightning", "lr"), marked(server, "run_lightning", "lr_multiplier")
    before, after = values_around(server, "run_lightning", "lr", first)
    assert (before, after) == ({0.1}, {0.02, 0.01})
    assert values_around(server, "run_lightning", "lr", second)[1] == {0.01}
    # asked for between two epochs of a hundred batches, whose ends validate nothing
    assert len(server.points("run_lightning", "val_loss")) in (1, 2)
    run = server.get("/api/v1/runs/run_lightning")
    assert (run["status"], run["reason"]) == ("completed", f"stopped by {stopped['author']}: to see")


def indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())


TRAIN = """
import os, sys, time
from transformers import TrainerCallback, TrainerState
from rundial.integrations import RundialCallback
from tests.integrations.tiny_transformers import checkpoints, rows, tiny_trainer

class Slow(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        time.sleep(0.02)

callback = RundialCallback(project="dials", run_id=sys.argv[1])
trainer = tiny_trainer(
    [callback, Slow()], max_steps=2000, lr_scheduler_type="constant", learning_rate=0.001, eval_dataset=rows(2),
    per_device_eval_batch_size=2, weight_decay=0.1,
)
done = trainer.train()
saved = checkpoints()
if not trainer.is_world_process_zero():
    print(done.global_step, *saved)
    sys.exit()
callback.run.finish()
for options in ({"dials": False}, {"mode": "offline"}, {"mode": "disabled"}):
    silent = RundialCallback(project="dials", **options)
    for ask in (silent.on_train_begin, silent.on_step_end):
        ask(trainer.args, TrainerState(), trainer.control, model=trainer.model, optimizer=trainer.optimizer)
    assert silent.run._board is None, options
    silent.run.finish()
print(done.global_step, *saved)
"""


@pytest.mark.skipif(find_spec("transformers") is None, reason="Transformers is not here")
def test_transformers(server: ServerProcess, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """On two ranks: the logged learning rate changes at the marked step; stop ends the training as completed.

    With ``dials=False``, and where no command could arrive, nothing is offered.
    """
    jobs = []
    for name, value in launched_by(2).items():
        monkeypatch.setenv(name, value)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        jobs.append(program(HERE + TRAIN, "run_transformers"))
    found = dials(server, "run_transformers")
    names = "evaluate grad_clip log_every lr lr_multiplier save_checkpoint stop weight_decay"
    assert sorted(found) == names.split()
    assert (found["lr"], found["grad_clip"], found["weight_decay"]) == (0.001, 1.0, 0.1)

    turn(server, "run_transformers", "lr", 0.0005)
    turn(server, "run_transformers", "lr_multiplier", 0.1)
    turn(server, "run_transformers", "grad_clip", 0.25)
    turn(server, "run_transformers", "evaluate")
    turn(server, "run_transformers", "save_checkpoint")
    turn(server, "run_transformers", "log_every", 2)
    stopped = turn(server, "run_transformers", "stop")
    ended = [succeed(job).splitlines()[-1].split() for job in jobs]

    assert ended[0] == ended[1]
    assert int(ended[0][0]) < 2000 and len(ended[0]) == 2
    assert stopped["ranks"] == {"0": "applied", "1": "applied"}
    (first,), (second,) = (marked(server, "run_transformers", name) for name in ("lr", "lr_multiplier"))
    before, after = values_around(server, "run_transformers", "learning_rate", first)
    assert (before, after) == ({0.001}, {0.0005, 0.0001})
    assert values_around(server, "run_transformers", "learning_rate", second)[1] == {0.0001}
    assert len(server.points("run_transformers", "eval_loss")) == 1
    run = server.get("/api/v1/runs/run_transformers")
    assert (run["status"], run["reason"]) == ("completed", f"stopped by {stopped['author']}: to see")


FITS = """
class Slow(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        time.sleep(0.01)

import time
kind = sys.argv[2]
rate = 0.01 if kind == "plain" else keras.optimizers.schedules.PiecewiseConstantDecay([10**6], [0.01, 0.001])
model = tiny(rate)
callback = RundialKerasCallback(project="dials", run_id=sys.argv[1])
done = model.fit(x, y, epochs=500, callbacks=[callback, Slow()], **QUIET)
print(len(done.epoch), len(list(__import__("pathlib").Path("checkpoints").glob("*/*.keras"))))
callback.run.finish()
"""


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not here")
@pytest.mark.parametrize(
    "backend, kind",
    [
        ("torch", "plain"),
        pytest.param("jax", "schedule", marks=pytest.mark.skipif(not find_spec("jax"), reason="no JAX")),
    ],
)
def test_keras(
    server: ServerProcess, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, backend: str, kind: str
) -> None:
    """With a plain rate and with a schedule, which JAX has compiled: the logged rate is the one that was asked for."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    name = f"run_{backend}_{kind}"
    job = program(KERAS + FITS, name, kind)
    found = dials(server, name)
    assert sorted(found) == ["grad_clip", "log_every", "lr", "lr_multiplier", "save_checkpoint", "stop"]
    assert round(found["lr"], 6) == 0.01

    turn(server, name, "lr", 0.005)
    turn(server, name, "lr_multiplier", 0.1)
    turn(server, name, "grad_clip", 0.5)
    turn(server, name, "save_checkpoint")
    stopped = turn(server, name, "stop")
    epochs, saved = map(int, succeed(job).split())

    assert epochs < 500 and saved == 1
    (second,) = marked(server, name, "lr_multiplier")
    before, after = values_around(server, name, "learning_rate", second)
    assert (before | after, after) == ({0.01, 0.005, 0.001} & (before | after), {0.001})
    assert server.get(f"/api/v1/runs/{name}")["reason"] == f"stopped by {stopped['author']}: to see"
