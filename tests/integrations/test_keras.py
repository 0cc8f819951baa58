"""RundialKerasCallback in real fits, on Keras's torch and JAX backends, beside Keras's own record of the same fit."""

from __future__ import annotations

import json
import signal
import time
from importlib.util import find_spec

import pytest

from tests.integrations.conftest import history, succeed

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(240),
    # Importing it here would choose a backend for the whole session.
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not here"),
]

BACKENDS = ["torch", pytest.param("jax", marks=pytest.mark.skipif(find_spec("jax") is None, reason="no JAX"))]

MODEL = """
import os, sys, json, warnings
warnings.simplefilter("ignore")
import numpy as np
import keras
import rundial as rd
from rundial.integrations.keras import RundialKerasCallback

x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
y = x.sum(1, keepdims=True)

def tiny(rate=0.01):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
    return model

QUIET = {"batch_size": 4, "verbose": 0}
"""


@pytest.fixture
def backend(request, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", request.param)
    return request.param


FITS = """
schedule = keras.optimizers.schedules.ExponentialDecay(0.02, 6, 0.5)
model = tiny(schedule)
callback = RundialKerasCallback(project="keras", log_batch_metrics=2, tags=["t"], config={"hub_token": "t-123"})
seen = []
class Spy(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        seen.append(dict(logs))
first = model.fit(x, y, epochs=3, validation_split=0.25, callbacks=[callback, Spy()], **QUIET).history
other = RundialKerasCallback(run=callback.run, log_batch_metrics=2)
second = model.fit(x, y, epochs=2, callbacks=[other], **QUIET).history
third = model.fit(x, y, epochs=7, initial_epoch=5, callbacks=[callback], **QUIET).history
found = model.evaluate(x, y, callbacks=[callback], verbose=0, return_dict=True)
model.predict(x, callbacks=[callback], verbose=0)
callback.log({"own": keras.ops.convert_to_tensor(2.5)}, step=7)
print(json.dumps([callback.run.id, first, second, third, found, seen, callback.run.finish()]))
"""


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_fits_evaluates_predicts(server, program, backend):
    """The history of three fits is Keras's own, one epoch after another; batches, rates and evaluation beside it."""
    run_id, first, second, third, found, seen, done = json.loads(succeed(program(MODEL + FITS)))
    assert done
    logged = history(server, run_id)
    for start, fit in ((1, first), (4, second), (6, third)):
        for key, values in fit.items():
            assert {k: logged[k][key] for k in range(start, start + len(values))} == dict(enumerate(values, start))
    assert [logged[epoch]["epoch"] for epoch in range(1, 8)] == list(range(1, 8))
    assert "val_loss" not in logged[4]
    rates = dict(server.points(run_id, "learning_rate"))
    assert rates[1] == pytest.approx(0.02 * 0.5 ** (5 / 6), rel=1e-5)
    assert rates[3] == pytest.approx(0.02 * 0.5 ** (15 / 6), rel=1e-5)
    batches = dict(server.points(run_id, "batch/loss"))
    assert list(batches) == list(range(0, 15 + 12 + 12, 2))
    assert [batches[step] for step in range(0, 15, 2)] == [seen[step]["loss"] for step in range(0, 15, 2)]
    assert {f"test_{k}": v for k, v in found.items()} == {k: v for k, v in logged[7].items() if k[:5] == "test_"}
    assert logged[7]["own"] == 2.5
    run = server.get(f"/api/v1/runs/{run_id}")
    assert run["status"] == "completed"
    assert run["config"]["optimizer"]["class"] == "SGD"
    assert run["config"]["optimizer"]["learning_rate"]["decay_steps"] == 6
    assert run["config"]["keras"]["backend"] == backend
    assert run["config"]["model"]["parameters"] == 5
    assert run["config"]["hub_token"] == "[redacted]"


BACKUP = """
class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if len(sys.argv) > 1 and epoch == 3:
            print(callback.run.id, flush=True)
            sys.stdin.readline() or __import__("time").sleep(60)
model = tiny()
callback = RundialKerasCallback(project="backup-" + keras.backend.backend(), log_batch_metrics=True)
backup = keras.callbacks.BackupAndRestore("backup")
model.fit(x, y, epochs=5, callbacks=[callback, backup, Slow()], **QUIET)
print(json.dumps([callback.run.id, callback.run.finish()]))
"""


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_killed_and_resumed_is_one_run(server, program, backend):
    """kill -9 in the middle, then BackupAndRestore: one run, one curve, as of a fit that was never killed."""
    killed = program(MODEL + BACKUP, "kill")
    run_id = killed.stdout.readline().decode().strip()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again, done = json.loads(succeed(program(MODEL + BACKUP)))
    assert (again, done) == (run_id, True)
    (whole,) = (run for run in server.runs(f"backup-{backend}") if run["runId"] == run_id)
    assert whole["status"] == "completed"
    logged = history(server, run_id)
    assert [step for step, _ in server.points(run_id, "loss")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in server.points(run_id, "batch/loss")] == list(range(30))
    assert all(logged[step]["epoch"] == step for step in range(1, 6))
    assert len(server.runs(f"backup-{backend}")) == 1


SAVING = """
model = tiny()
paths = "ckpt/at{epoch:02d}.weights.h5", "ckpt/best.keras"
every = keras.callbacks.ModelCheckpoint(paths[0], save_weights_only=True)
best = keras.callbacks.ModelCheckpoint(paths[1], monitor="loss", save_best_only=True)
os.makedirs("ckpt")
open("ckpt/at00.weights.h5", "w").close()
callback = RundialKerasCallback(project="saving", log_model={"all": "all", "end": True}[sys.argv[1]])
h = model.fit(x, y, epochs=3, callbacks=[every, callback, best], **QUIET).history
print(json.dumps([callback.run.id, h["loss"], callback.run.finish()]))
"""


@pytest.mark.parametrize("backend", ["torch"], indirect=True)
@pytest.mark.parametrize("when", ["all", "end"])
def test_checkpoint_files(server, program, backend, when):
    """Files of ModelCheckpoints go out as they are saved, or when the fit has ended; older files do not."""
    run_id, losses, done = json.loads(succeed(program(MODEL + SAVING, when)))
    assert done
    versions = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"][::-1]
    assert {version["name"] for version in versions} == {f"model-{run_id}"}
    names = [version["metadata"]["original_filename"] for version in versions]
    if when == "end":
        assert names == ["best.keras"]
    else:
        assert sorted(names) == sorted(["at01.weights.h5", "at02.weights.h5", "at03.weights.h5"] + ["best.keras"] * 3)
    last = versions[-1]
    assert last["metadata"]["original_filename"] == "best.keras"
    assert last["metadata"]["score"] == pytest.approx(losses[-1])
    assert last["metadata"]["step"] == 3
    assert set(last["aliases"]) == {"latest", "best"}


FAILING = """
model = tiny()
class Broken(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2: raise RuntimeError("no more data")
model.fit(x, y, epochs=4, callbacks=[RundialKerasCallback(project="failing"), Broken()], **QUIET)
"""


@pytest.mark.parametrize("backend", ["torch"], indirect=True)
def test_a_failing_fit_fails_the_run(server, program, backend):
    """With what was logged before it, and the reason."""
    process = program(MODEL + FAILING)
    process.communicate(timeout=60)
    assert process.returncode == 1
    (run,) = server.runs("failing")
    assert run["status"] == "failed"
    assert [step for step, _ in server.points(run["runId"], "loss")] == [1, 2]


@pytest.mark.parametrize("backend", ["torch"], indirect=True)
def test_nothing_raises_and_other_ranks_are_silent(server, program, backend, monkeypatch):
    """A disk that is full and hooks that fail cost a warning; rank one logs nothing and makes no run."""
    code = """
    callback = RundialKerasCallback(project="silent")
    if len(sys.argv) > 1:
        callback._lazy.__class__.writable = property(lambda self: 1 / 0)
    h = tiny().fit(x, y, epochs=2, callbacks=[callback], **QUIET)
    print(len(h.history["loss"]), callback._lazy.opened)
    """
    import textwrap

    assert succeed(program(MODEL + textwrap.dedent(code), "broken")).split() == ["2", "False"]
    monkeypatch.setenv("RANK", "1")
    assert succeed(program(MODEL + textwrap.dedent(code))).split() == ["2", "False"]
    assert not server.runs("silent")


@pytest.mark.parametrize("backend", ["torch"], indirect=True)
def test_server_killed_in_the_middle(start_server, program, monkeypatch, backend):
    """The fit ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    code = """
class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            print(callback.run.id, flush=True)
            open("go").read()
callback = RundialKerasCallback(project="killed")
history = tiny().fit(x, y, epochs=5, callbacks=[callback, Slow()], **QUIET).history
print(json.dumps(history["loss"]))
"""
    import os

    os.mkfifo("go")
    training = program(MODEL + code)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    with open("go", "w"):
        pass
    losses = json.loads(succeed(training))
    again = start_server(port=server.port)
    succeed(program("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)"))
    deadline = time.monotonic() + 20
    while len(again.points(run_id, "loss")) < 5 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert again.points(run_id, "loss") == list(enumerate(losses, 1))
