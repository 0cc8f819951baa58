"""RundialCallback in real Trainers, beside the Trainer's own record of the same run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import Trainer, TrainingArguments

import rundial as rd
from rundial.errors import ConfigError
from rundial.events import Marker, Metrics
from rundial.integrations import RundialCallback
from rundial.testing import capture_run
from tests.flows.conftest import ServerProcess
from tests.integrations.conftest import history, succeed, use_server
from tests.integrations.tiny_transformers import checkpoints, launched_by, logged, rows, tiny_model, tiny_trainer
from tests.unit.store_server import StoreServer

# Transformers and torch warn of their own matters, such as pinned memory.
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

BEGIN = """
import json, os, sys
from rundial.integrations import RundialCallback
from transformers import TrainerCallback
from tests.integrations.tiny_transformers import logged, rows, tiny_trainer

class Wait(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if sys.argv[1] == "wait" and state.global_step == 8:
            print("here", flush=True)
            sys.stdin.readline()
"""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreServer]:
    with StoreServer() as server:
        monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
        monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_x")
        monkeypatch.setenv("RUNDIAL_QUIET", "1")
        yield server


@pytest.fixture
def waiting(program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Starts a program that prints ``here`` in the middle and waits for a line."""

    def start(code: str) -> Any:
        popen = subprocess.Popen
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", lambda *a, **k: popen(*a, **{"stdin": subprocess.PIPE, **k}))
            process = program(BEGIN + code, "wait")
        # Before it come the Trainer's own lines.
        assert any(line == b"here\n" for line in process.stdout), process.stderr.read().decode()
        return process

    return start


# -- what is logged ---------------------------------------------------------------------------------------------------


def test_the_history_is_the_trainers_own(server: ServerProcess) -> None:
    """Training with two evaluation sets, evaluate, predict and a second training are one run, value for value."""
    callback = RundialCallback(project="history", tags=["tiny"])
    trainer = tiny_trainer(
        [callback],
        eval_strategy="steps",
        eval_steps=3,
        eval_dataset={"a": rows(4), "b": rows(8)},
        run_name="six steps",
        hub_token="hf_secret",
        gradient_accumulation_steps=2,
    )
    trainer.train()
    trainer.evaluate()
    found = logged(trainer.state.log_history)
    assert {"loss", "grad_norm", "learning_rate", "eval_a_loss", "eval_b_loss", "train_loss", "epoch"} <= set(found[6])
    found[6] |= trainer.predict(rows(4)).metrics
    assert callback.run.status == "running", "the end of a training is not the end of the run"
    trainer.args.max_steps = 2
    trainer.train()
    callback.run.finish(20)

    assert history(server, callback.run.id) == logged(trainer.state.log_history, found)
    (run,) = server.runs("history")
    assert (run["status"], run["runName"], run["tags"]) == ("completed", "six steps", ["tiny"])
    config = run["config"]
    assert config["hub_token"] == "[redacted]" and "hf_secret" not in json.dumps(config)
    assert (config["gradient_accumulation_steps"], config["model"]["n_layer"]) == (2, 2)
    assert config["num_parameters"] == config["num_trained_parameters"] == trainer.model.num_parameters()
    markers = server.get(f"/api/v1/runs/{run['runId']}/markers")["markers"]
    assert [(m["name"], m["step"]) for m in markers if m["kind"] == "phase"] == [("train ended", 6), ("train ended", 2)]


def test_no_metric_is_logged_twice() -> None:
    """on_evaluate brings what on_log has brought; each key is logged once for each step."""
    with capture_run() as (run, memory):
        trainer = tiny_trainer(
            [RundialCallback(run=run)], eval_strategy="steps", eval_steps=3, eval_dataset=rows(4), max_steps=3
        )
        trainer.train()
        trainer.evaluate(metric_key_prefix="late")
    keys = [(event.step, key) for event in memory.events if isinstance(event, Metrics) for key in event.values]
    assert {key for step, key in keys if key != "epoch"} >= {"eval_loss", "late_loss"}
    again = [key for step, key in keys if keys.count((step, key)) > 1]
    assert set(again) == {"epoch"}, "which the Trainer puts beside each of its logs"


def test_metrics_that_come_by_on_evaluate_alone() -> None:
    """A Trainer whose evaluate() does not log loses nothing."""
    with capture_run() as (run, memory):
        callback = RundialCallback(run=run)
        trainer = tiny_trainer([callback])
        trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, {"eval_own": 0.5})
        callback.log({"mine": 1.0})
        callback.log({"mine": 2.0}, step=9)
    assert memory.series("eval_own") == [0.5]
    assert (memory.series("mine"), memory.steps("mine")) == ([1.0, 2.0], [0, 9])


def test_adapters_of_peft(server: ServerProcess) -> None:
    """The configuration of LoRA is kept, and how many parameters it trains."""
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
    callback = RundialCallback(project="peft")
    trainer = tiny_trainer([callback], model=peft.get_peft_model(tiny_model(), lora), max_steps=1)
    trainer.train()
    callback.run.finish(20)
    config = server.get(f"/api/v1/runs/{callback.run.id}")["config"]
    assert (config["peft"]["default"]["r"], config["peft"]["default"]["target_modules"]) == (3, ["c_attn"])
    assert 0 < config["num_trained_parameters"] < config["num_parameters"]


def test_the_users_own_run() -> None:
    """run=, or a run begun before the training, is logged to, and its end is the user's."""
    with capture_run() as (run, memory):
        tiny_trainer([RundialCallback(run=run)], max_steps=1).train()
        assert run.status == "running"
    assert memory.steps("loss") == [1]
    trainer = tiny_trainer([callback := RundialCallback()], max_steps=1)
    mine = rd.init(mode="disabled")
    trainer.train()
    assert callback.run is mine and mine.status == "running"
    mine.finish()


def test_nothing_raises_into_the_training() -> None:
    """A model that cannot be described costs a warning, and the training is logged."""
    model = tiny_model()
    model.peft_config = {"broken": object()}
    with capture_run() as (run, memory):
        trainer = tiny_trainer([RundialCallback(run=run)], model=model, max_steps=2)
        with pytest.warns(RuntimeWarning, match="on_train_begin was not logged"):
            trainer.train()
    assert memory.steps("loss") == [1, 2]


# -- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report_to", ["rundial", ["rundial"], "all"])
def test_report_to(report_to: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is enough, and "all" means us, too."""
    monkeypatch.setenv("RUNDIAL_MODE", "disabled")
    arguments = TrainingArguments("out", report_to=report_to, use_cpu=True)
    assert "rundial" in arguments.report_to
    trainer = Trainer(tiny_model(), arguments)
    assert [type(callback) for callback in trainer.callback_handler.callbacks].count(RundialCallback) == 1


def test_a_callback_beside_report_to() -> None:
    """Of the one by name and the user's own, the user's logs."""
    with capture_run() as (run, memory):
        trainer = tiny_trainer([RundialCallback(run=run)], report_to="rundial", max_steps=2)
        trainer.train()
    assert memory.steps("loss") == [1, 2]
    assert not Path("home").exists() and not list(Path.cwd().glob(".rundial_spool")), "no second run was begun"


@pytest.mark.parametrize(
    "imports",
    [
        "import rundial.integrations, transformers.integrations.integration_utils",
        "import transformers.integrations.integration_utils, rundial.integrations",
        "import site; site.addsitedir('site')\nassert 'rundial.integrations' in sys.modules",
    ],
)
def test_registration(imports: str, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is imported first, and with RUNDIAL_AUTO=1 without any import of ours, the name is known."""
    root = Path(rd.__file__).parent
    Path("site").mkdir()
    shutil.copy(root / "integrations/rundial_auto.pth", "site")
    monkeypatch.setenv("RUNDIAL_AUTO", "1")
    code = "import sys\n" + imports + "\nassert 'torch' in sys.modules or 'site' in sys.modules\n"
    code += "from transformers.integrations import get_available_reporting_integrations as found\n"
    code += "from transformers.integrations.integration_utils import get_reporting_integration_callbacks as callbacks\n"
    code += "print(found().count('rundial'), callbacks(['rundial'])[0].__module__)\n"
    assert succeed(program(code)) == "1 rundial.integrations.transformers\n"


def test_without_the_variable_nothing_is_imported(program: Callable[..., Any]) -> None:
    """The line that Python reads at its start does nothing unless it is asked to."""
    Path("site").mkdir()
    shutil.copy(Path(rd.__file__).parent / "integrations/rundial_auto.pth", "site")
    code = "import site, sys; site.addsitedir('site'); print('rundial' in sys.modules)"
    assert succeed(program(code)) == "False\n"


def test_importing_loads_no_framework(program: Callable[..., Any]) -> None:
    """Being known by name costs no import of theirs."""
    code = (
        "import sys, rundial.integrations; print({'torch', 'transformers', 'accelerate', 'numpy'} & set(sys.modules))"
    )
    assert succeed(program(code)) == "set()\n"


# -- endings ----------------------------------------------------------------------------------------------------------


class Failing(Trainer):
    """Raises ``error`` at the third step."""

    error: BaseException | None = None

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None and self.state.global_step == 2:
            raise self.error
        return super().training_step(*args, **kwargs)


def test_a_training_that_fails(server: ServerProcess) -> None:
    """The run is failed with its traceback; the exception reaches the user; a new training goes on with the run."""
    callback = RundialCallback(project="failing")
    trainer = tiny_trainer([callback], kind=Failing)
    trainer.error = ValueError("bad luck")
    with pytest.raises(ValueError, match="bad luck"):
        trainer.train()
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    assert (run["status"], run["reason"]) == ("failed", "ValueError: bad luck")
    assert "training_step" in run["traceback"]
    trainer.error = None
    trainer.train()
    callback.run.finish(20)
    run = server.get(f"/api/v1/runs/{callback.run.id}")
    assert (run["status"], run["lastStep"]) == ("completed", 6)
    assert len(server.runs("failing")) == 1


def test_ctrl_c_in_a_training() -> None:
    """The run is aborted, and a run of the user's own gets a marker and goes on."""
    callback = RundialCallback(mode="offline")
    with capture_run() as (run, memory):
        for each in (callback, RundialCallback(run=run)):
            trainer = tiny_trainer([each], kind=Failing)
            trainer.error = KeyboardInterrupt()
            with pytest.raises(KeyboardInterrupt):
                trainer.train()
        assert (callback.run.status, run.status) == ("aborted", "running")
    assert [event.name for event in memory.events if isinstance(event, Marker) and event.kind == "failure"]


def test_killed_and_resumed(server: ServerProcess, waiting: Callable[..., Any], program: Callable[..., Any]) -> None:
    """kill -9 in the middle, then resume_from_checkpoint=True: one run, one curve, every step there and right."""
    code = """
trainer = tiny_trainer([RundialCallback(project="killed"), Wait()], max_steps=12, save_strategy="steps", save_steps=5)
trainer.train(resume_from_checkpoint=sys.argv[1] == "resume")
print(json.dumps(trainer.state.log_history))
"""
    killed = waiting(code)
    killed.kill()
    killed.wait()
    record = json.loads(succeed(program(BEGIN + code, "resume")).splitlines()[-1])
    (run,) = server.runs("killed")
    assert run["status"] == "completed"
    found = history(server, run["runId"])
    assert found == logged(record) and sorted(found) == list(range(1, 13))


@pytest.mark.parametrize("restore", [False, True])
def test_resumed_by_another_trainer(server: ServerProcess, restore: bool) -> None:
    """A new callback goes on with the checkpoint's run, also when the Trainer restores its callbacks by itself."""
    project = f"resumed-{restore}"
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "output_dir": project}
    first = RundialCallback(project=project)
    tiny_trainer([first], **options).train()
    first.run.finish(20)
    second = RundialCallback(project=project)
    trainer = tiny_trainer([second], **options, restore_callback_states_from_checkpoint=restore)
    trainer.train(resume_from_checkpoint=f"{project}/checkpoint-3")
    assert second.run.id == first.run.id
    second.run.finish(20)
    found = history(server, first.run.id)
    kept = logged(trainer.state.log_history)
    assert {step: values["loss"] for step, values in found.items()} == {s: v["loss"] for s, v in kept.items()}
    assert len(server.runs(project)) == 1


def test_a_checkpoint_made_without_us() -> None:
    """Resuming from it begins a run, and the next checkpoint is saved."""
    tiny_trainer([], save_strategy="steps", save_steps=3).train()
    with capture_run() as (run, memory):
        trainer = tiny_trainer([RundialCallback(run=run)], save_strategy="steps", save_steps=2, max_steps=8)
        trainer.train(resume_from_checkpoint="out/checkpoint-6")
    assert memory.steps("loss") == [7, 8]
    assert "checkpoint-8" in checkpoints()


def test_the_server_dies_in_the_middle(
    start_server: Callable[..., ServerProcess], monkeypatch: pytest.MonkeyPatch, waiting: Callable[..., Any]
) -> None:
    """Training ends as if nothing had happened; everything arrives when the server is back."""
    server = start_server(watched=False)
    use_server(server, monkeypatch)
    training = waiting("""
callback = RundialCallback(project="outage", finish_timeout=1)
trainer = tiny_trainer([callback, Wait()], max_steps=30, eval_dataset=rows(4))
trainer.train()
trainer.evaluate()
print(json.dumps([callback.run.id, trainer.state.log_history]))
""")
    server.process.kill()
    server.process.wait()
    out, err = training.communicate(b"go on\n", timeout=90)
    assert training.returncode == 0, err.decode()
    assert b"Traceback" not in err
    again = start_server(watched=False, port=server.port)
    assert os.system(f"{sys.executable} -m rundial sync > /dev/null") == 0
    run_id, record = json.loads(out.decode().splitlines()[-1])
    assert history(again, run_id) == logged(record)
    assert again.get(f"/api/v1/runs/{run_id}")["status"] == "completed"


def test_two_processes_are_one_run(
    server: ServerProcess, program: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process of a distributed training logs."""
    code = """
trainer = tiny_trainer([RundialCallback(project="distributed")], max_steps=3, save_strategy="steps", save_steps=2)
trainer.train()
"""
    for name, value in launched_by(2).items():
        monkeypatch.setenv(name, value)
    started = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        started.append(program(BEGIN + code, "go"))
    for process in started:
        succeed(process)
    (run,) = server.runs("distributed")
    assert run["status"] == "completed"
    assert [step for step, _ in server.points(run["runId"], "loss")] == [1, 2, 3]


# -- a search ---------------------------------------------------------------------------------------------------------


def test_each_trial_of_a_search_is_a_run(server: ServerProcess) -> None:
    """With Optuna: a run for each, in a group, with its parameters; what was pruned is aborted; later trainings are one
    run more."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    class SecondIsPruned(optuna.pruners.BasePruner):  # type: ignore[misc,name-defined]
        def prune(self, study: Any, trial: Any) -> bool:
            return bool(trial.number == 1)

    callback = RundialCallback(project="search")
    trainer = tiny_trainer(
        [callback],
        model_init=lambda trial: tiny_model(),
        eval_strategy="steps",
        eval_steps=2,
        eval_dataset=rows(4),
        max_steps=4,
        run_name="sweep",
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3)},
        n_trials=3,
        direction="minimize",
        pruner=SecondIsPruned(),
    )
    trainer.train()
    callback.run.finish(20)
    runs = {run["runName"]: run for run in server.runs("search")}
    assert set(runs) == {"sweep-1", "sweep-2", "sweep-3", "sweep"}
    assert [runs[f"sweep-{n}"]["status"] for n in (1, 2, 3)] == ["completed", "aborted", "completed"]
    assert {runs[f"sweep-{n}"]["group"] for n in (1, 2, 3)} == {"sweep"}
    rates = [runs[f"sweep-{n}"]["config"]["learning_rate"] for n in (1, 2, 3)]
    assert len(set(rates)) == 3 and rates[0] == runs["sweep-1"]["config"]["trial"]["learning_rate"]
    steps = {name: len(server.points(run["runId"], "loss")) for name, run in runs.items()}
    assert steps == {"sweep-1": 4, "sweep-2": 2, "sweep-3": 4, "sweep": 4}


def test_a_search_beside_a_run_of_the_users_own(server: ServerProcess) -> None:
    """Its trials are runs in the same project, in a group of its name; it stays the user's."""
    pytest.importorskip("optuna").logging.set_verbosity(40)
    mine = rd.init(project="beside", name="mine")
    trainer = tiny_trainer(
        [callback := RundialCallback()], model_init=lambda trial: tiny_model(), max_steps=2, eval_dataset=rows(2)
    )
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3)}, n_trials=2
    )
    assert mine.status == "running"
    callback.run.finish(20)
    mine.log({"mine": 1.0}, step=0)
    mine.finish(20)
    runs = {run["runName"]: run for run in server.runs("beside")}
    assert {name: run["group"] for name, run in runs.items()} == {"mine": None, "mine-1": "mine", "mine-2": "mine"}
    assert history(server, mine.id) == {0: {"mine": 1.0}}


# -- checkpoints and models, into a server of records and uploads -----------------------------------------------------

SAVING: dict[str, Any] = {
    "save_strategy": "steps",
    "save_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_total_limit": 2,
}


class Scripted(Trainer):
    """Evaluates to 3, 1, 2 and so forth: the second checkpoint is the best."""

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        metrics = {"eval_loss": [3.0, 1.0, 2.0][self.state.global_step // 2 - 1]}
        self.log(metrics)
        return metrics


def train_and_save(callback: RundialCallback, seconds: float = 30) -> None:
    tiny_trainer([callback], kind=Scripted, eval_dataset=rows(2), load_best_model_at_end=True, **SAVING).train()
    callback.run.finish(seconds)


def test_each_checkpoint(store: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNDIAL_LOG_MODEL=checkpoint: the one just saved, each time, tagged best when it is, with its score."""
    monkeypatch.setenv("RUNDIAL_LOG_MODEL", "checkpoint")
    callback = RundialCallback(project="models")
    train_and_save(callback)
    versions = [version for version in store.versions if version["artifactType"] == "model"]
    assert [(v["step"], v["aliases"], v["metadata"]["score"]) for v in versions] == [
        (2, ["latest", "best"], 3.0),
        (4, ["latest", "best"], 1.0),
        (6, ["latest"], 2.0),
    ]
    for version in versions:
        assert version["name"] == f"model-{callback.run.id}"
        assert json.loads(version["content"]["trainer_state.json"])["global_step"] == version["step"]
        assert "model.safetensors" in version["content"]


def test_the_last_and_the_best_checkpoint(store: StoreServer) -> None:
    """log_model=True: two when training has ended; False: none at all."""
    train_and_save(RundialCallback(project="models", log_model=True, checkpoint_name="mine", keep_last=3))
    assert [(v["name"], v["step"], v["aliases"]) for v in store.versions] == [
        ("mine", 4, ["latest", "best"]),
        ("mine", 6, ["latest"]),
    ]
    assert store.versions[0]["retentionPolicy"] == {"strategy": "keep_last", "keepLast": 3}
    train_and_save(RundialCallback(project="models"))
    assert len(store.versions) == 2


def test_checkpoints_while_the_server_is_away(store: StoreServer) -> None:
    """Nothing about uploads reaches the training: with a server that answers 503 it ends well."""
    store.fault = lambda method, path: 503 if "artifacts" in path else None
    train_and_save(RundialCallback(project="models", log_model="all"), 1)
    assert store.versions == [] and store.records.steps("loss") == [1, 2, 3, 4, 5, 6]


def test_watch(store: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNDIAL_WATCH: histograms of each parameter at the step of the loss; no hook is left behind."""
    monkeypatch.setenv("RUNDIAL_WATCH", "gradients")
    callback = RundialCallback(project="watched")
    trainer = tiny_trainer([callback], model=tiny_model(n_layer=1), max_steps=101)
    trainer.train()
    assert not any(parameter._backward_hooks for parameter in trainer.model.parameters())
    callback.run.finish(30)
    found = {(v["media"]["key"], v["media"]["step"]) for v in store.versions}
    names = [name for name, _ in trainer.model.named_parameters()]
    assert found == {(f"gradients/{name}", step) for name in names for step in (1, 101)}


@pytest.mark.parametrize("variable", ["RUNDIAL_LOG_MODEL", "RUNDIAL_WATCH"])
def test_a_wrong_word_is_said_at_once(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the callback is made, not in the middle of the training."""
    monkeypatch.setenv(variable, "sometimes")
    with pytest.raises(ConfigError, match="sometimes"):
        RundialCallback(mode="disabled")
