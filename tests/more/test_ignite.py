"""RundialIgniteLogger on real engines, beside what a handler of the test saw."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver, LRScheduler, global_step_from_engine
from ignite.metrics import Accuracy, Loss

from rundial.errors import ConfigError
from rundial.integrations.ignite import OutputHandler, RundialIgniteLogger
from tests.integrations.conftest import History, history, succeed

torch.set_num_threads(1)
X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
BATCHES = [(X[i : i + 8], (X[i : i + 8, 0] > 0).long()) for i in range(0, 32, 8)]


def parts() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return model, optimizer, create_supervised_trainer(model, optimizer, torch.nn.CrossEntropyLoss())


def test_training_and_validation(server):
    """Losses, metrics and learning rates at their iterations and epochs, value for value."""
    model, optimizer, trainer = parts()
    evaluator = create_supervised_evaluator(
        model, metrics={"accuracy": Accuracy(), "nll": Loss(torch.nn.CrossEntropyLoss())}
    )
    scheduler = LRScheduler(torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.1))
    trainer.add_event_handler(Events.ITERATION_STARTED, scheduler)
    expected: History = {}
    logger = RundialIgniteLogger(project="ignite", config={"api_key": "k-123"})
    logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED, optimizer=optimizer, tag="opt")
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss}
    )

    @trainer.on(Events.ITERATION_COMPLETED)
    def record(engine: Any) -> None:
        rate = float(optimizer.param_groups[0]["lr"])
        expected[engine.state.iteration] = {"train/loss": engine.state.output, "opt/lr/group_0": rate}

    logger.attach(
        evaluator,
        OutputHandler("valid", metric_names="all", global_step_transform=lambda *_: trainer.state.iteration),
        Events.COMPLETED,
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: Any) -> None:
        found = evaluator.run(BATCHES).metrics
        expected[engine.state.iteration] |= {f"valid/{name}": value for name, value in found.items()}

    trainer.run(BATCHES, max_epochs=3)
    logger.log({"mine": 0.5}, step=12)
    expected[12]["mine"] = 0.5
    logger.close()
    assert logger.run.status == "running"
    assert logger.run.finish()
    assert len(expected) == 12 and "valid/accuracy" in expected[4]
    assert history(server, logger.run.id) == expected
    assert server.get(f"/api/v1/runs/{logger.run.id}")["config"]["api_key"] == "[redacted]"


def test_epochs_as_steps(server):
    """With global_step_from_engine the steps are the trainer's epochs; a user's run stays open behind `with`."""
    _, _, trainer = parts()
    evaluator = create_supervised_evaluator(torch.nn.Linear(4, 2), metrics={"accuracy": Accuracy()})
    with RundialIgniteLogger(project="ignite", metric_prefix="a") as logger:
        logger.attach_output_handler(
            evaluator,
            Events.EPOCH_COMPLETED,
            tag="valid",
            metric_names=["accuracy"],
            global_step_transform=global_step_from_engine(trainer),
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(BATCHES))
        trainer.run(BATCHES, max_epochs=2)
    assert logger.run.finish()
    assert [step for step, _ in server.points(logger.run.id, "a/valid/accuracy")] == [1, 2]


def test_a_checkpoint_goes_on_with_its_run(server, tmp_path):
    """The logger in to_save: one run, one curve."""

    def fit(epochs: int, *, resume: bool) -> str:
        model, _, trainer = parts()
        logger = RundialIgniteLogger(project="ignite")
        saved = {"model": model, "trainer": trainer, "rundial": logger}
        if resume:
            Checkpoint.load_objects(saved, torch.load(next(tmp_path.glob("*.pt")), weights_only=True))
        logger.attach_output_handler(trainer, Events.EPOCH_COMPLETED, tag="t", output_transform=lambda loss: loss)
        saver = DiskSaver(str(tmp_path), require_empty=False, create_dir=False)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint(saved, saver, n_saved=1))
        trainer.run(BATCHES, max_epochs=epochs)
        assert logger.run.finish()
        return logger.run.id

    first = fit(2, resume=False)
    assert fit(4, resume=True) == first
    assert [step for step, _ in server.points(first, "t/output")] == [1, 2, 3, 4]


def test_nothing_raises(monkeypatch):
    """Whatever happens while logging is a warning, an output transform's mistake too; not so one in the settings."""
    with pytest.raises(ConfigError):
        RundialIgniteLogger(projekt="x")
    _, _, trainer = parts()
    logger = RundialIgniteLogger(project="ignite", mode="disabled")
    logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED, tag="a", output_transform=lambda x: {"a": 1 / 0})
    logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED, tag="b", output_transform=lambda x: x)
    monkeypatch.setattr(type(logger._lazy), "writable", property(lambda self: [][0]))
    with pytest.warns(RuntimeWarning) as warned:
        state = trainer.run(BATCHES, max_epochs=1)
    texts = " ".join(str(each.message) for each in warned)
    assert "ZeroDivisionError" in texts and "IndexError" in texts
    assert state.iteration == 4


def test_server_killed_in_the_middle(start_server, script, monkeypatch):
    """The training ends as if nothing had been, and everything arrives when the server is back."""
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    training = script("""
        import json, sys
        from ignite.engine import Engine, Events
        from rundial.integrations.ignite import RundialIgniteLogger
        logger = RundialIgniteLogger(project="ignite")
        trainer = Engine(lambda engine, batch: batch / 7)
        logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: x)
        @trainer.on(Events.ITERATION_COMPLETED(once=5))
        def wait(engine):
            print(logger.run.id, flush=True)
            sys.stdin.readline()
        trainer.run(range(20), max_epochs=1)
        print(json.dumps(trainer.state.iteration))
    """)
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    training.stdin.write(b"\n")
    training.stdin.flush()
    assert json.loads(succeed(training)) == 20
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) == 20)
    assert again.points(run_id, "t/output") == [(i + 1, i / 7) for i in range(20)]
