"""What runs log by themselves: ``magic``, ``save_code``, ``log_code``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb._auto import options_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("float32")


def values(server, run, key):
    """The values of a curve."""
    return [value for _, value in server.points(run.id, key)]


def test_command_line_options():
    """Both forms of options, flags, JSON values; what is no option is left out."""
    words = ["file", "--lr", "0.1", "--net=cnn", "--no-cuda", "--sizes=[1, 2]", "--seed", "-1", "rest", "--=x", "-v"]
    assert options_of(words) == {"lr": 0.1, "net": "cnn", "no_cuda": True, "sizes": [1, 2], "seed": -1}


@pytest.mark.frameworks
def test_magic_follows_boosting(server, monkeypatch):
    """Trainings log their rounds without a callback of one's own, and the options of the command line are kept."""
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.3", "--api-key", "secret"])
    for module in (xgboost, xgboost.sklearn, lightgbm, lightgbm.sklearn):
        monkeypatch.setattr(module, "train", module.train)  # is put back afterwards
    run = wandb.init(project="wb-magic", magic=True, config={"lr": 0.1})
    record = {}
    data = xgboost.DMatrix(X, Y)
    options = {"max_depth": 2, "objective": "binary:logistic", "eval_metric": "logloss"}
    xgboost.train(options, data, 3, evals=[(data, "train")], evals_result=record, verbose_eval=False)
    record_2 = {}
    train = lightgbm.Dataset(X, Y)
    settings = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 2}
    noting = lightgbm.record_evaluation(record_2)
    lightgbm.train(settings, train, 3, valid_sets=[train], valid_names=["fit"], callbacks=[noting])
    run.finish()
    assert values(server, run, "train-logloss") == pytest.approx(record["train"]["logloss"])
    assert values(server, run, "fit_binary_logloss") == pytest.approx(record_2["fit"]["binary_logloss"])
    config = server.get(f"/api/v1/runs/{run.id}")["config"]
    assert (config["lr"], config["api_key"]) == (0.1, "[redacted]")
    other = wandb.init(project="wb-magic")
    xgboost.train(options, data, 3, evals=[(data, "train")], verbose_eval=False)
    other.finish()
    assert values(server, other, "train-logloss") == []


@pytest.mark.frameworks
def test_magic_follows_keras(server, monkeypatch):
    """Each epoch is the history's; a callback that is there already is not doubled."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(keras.Model, "fit", keras.Model.fit)
    run = wandb.init(project="wb-magic", magic=True)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    history = model.fit(X, Y, 32, 2, 0)
    history_2 = model.fit(X, Y, epochs=1, verbose=0, callbacks=[wandb.keras.WandbMetricsLogger()])
    run.finish()
    expected = [float(loss) for loss in history.history["loss"] + history_2.history["loss"]]
    assert values(server, run, "epoch/loss") == pytest.approx(expected)


def artifacts(server, run_id):
    """The artifacts of type code that a run made, each with its files."""
    rows = server.get(f"/api/v1/runs/{run_id}/artifacts")["artifacts"]
    found = [server.get(f"/api/v1/artifacts/{row['artifactId']}") for row in rows if row["type"] == "code"]
    return {artifact["name"]: sorted(file["path"] for file in artifact["files"]) for artifact in found}


@pytest.mark.parametrize(
    ("given", "variables", "kept"),
    [
        ("save_code=True", {}, True),
        ("", {"WANDB_SAVE_CODE": "true"}, True),
        ("", {}, False),
        ("save_code=True", {"WANDB_DISABLE_CODE": "true"}, False),
    ],
)
def test_save_code(server, tmp_path, monkeypatch, given, variables, kept):
    """The script that runs is kept when it is asked for, by argument or variable, unless it is forbidden."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    script = tmp_path / "my_train.py"
    script.write_text(
        "import rundial.compat.wandb as wandb\n"
        f"with wandb.init(project='wb-code', {given}) as run:\n    run.log({{'a': 1}})\nprint(run.id)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    found = artifacts(server, done.stdout.split()[-1])
    assert found == ({"source-wb-code-my_train.py": ["my_train.py"]} if kept else {})


def test_log_code(server, tmp_path):
    """Python files below the folder by default; with functions what they let through; None when nothing is left."""
    for name in ("a.py", "deep/b.py", "notes.md", "wandb/c.py", "__pycache__/d.py"):
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with wandb.init(project="wb-code") as run:
        artifact = run.log_code(str(tmp_path / "code"), name="all")
        assert artifact.type == "code"
        run.log_code(
            str(tmp_path / "code"),
            name="some",
            include_fn=lambda path: path.endswith((".py", ".md")),
            exclude_fn=lambda path, root: Path(path).relative_to(root).parts[0] == "deep",
        )
        assert run.log_code(str(tmp_path / "code"), include_fn=lambda path: False) is None
    assert artifacts(server, run.id) == {"all": ["a.py", "deep/b.py"], "some": ["a.py", "notes.md"]}
