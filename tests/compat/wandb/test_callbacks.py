"""W&B's callbacks for frameworks, each in a real small training: what is logged is the framework's own record."""

from pathlib import Path

import numpy as np
import pytest

import rundial.compat.wandb as wandb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("float32")


def values(server, run, key):
    """The values of a curve."""
    return [value for _, value in server.points(run.id, key)]


def test_xgboost(server):
    """The scores of each round, the best of them, the importances and the model."""
    xgboost = pytest.importorskip("xgboost")
    run = wandb.init(project="wb-xgboost")
    record = {}
    data = xgboost.DMatrix(X, Y)
    callback = wandb.xgboost.WandbCallback(log_model=True)
    xgboost.train(
        {"max_depth": 2, "objective": "binary:logistic", "eval_metric": "logloss"},
        data,
        4,
        evals=[(data, "train")],
        evals_result=record,
        callbacks=[callback],
        verbose_eval=False,
    )
    run.finish()
    assert values(server, run, "train-logloss") == pytest.approx(record["train"]["logloss"])
    assert run.summary["train-logloss"]["min"] == pytest.approx(min(record["train"]["logloss"]))
    assert run.config["learner"]["objective"]["name"] == "binary:logistic"


def test_lightgbm(server):
    """The scores of each round and the summary."""
    lightgbm = pytest.importorskip("lightgbm")
    run = wandb.init(project="wb-lightgbm")
    record = {}
    train = lightgbm.Dataset(X, Y)
    model = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 2},
        train,
        4,
        valid_sets=[train],
        valid_names=["train"],
        callbacks=[wandb.lightgbm.wandb_callback(), lightgbm.record_evaluation(record)],
    )
    wandb.lightgbm.log_summary(model, save_model_checkpoint=True)
    run.finish()
    assert values(server, run, "train_binary_logloss") == pytest.approx(record["train"]["binary_logloss"])
    assert run.config.objective == "binary"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, over torch
def test_keras(server, monkeypatch, tmp_path):
    """The metrics logger, checkpoints, tables of predictions and the older callback."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    run = wandb.init(project="wb-keras")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")

    class Predictions(wandb.keras.WandbEvalCallback):
        def add_ground_truth(self, logs=None):
            self.data_table.add_data(0, float(Y[0]))

        def add_model_predictions(self, epoch, logs=None):
            self.pred_table.add_data(epoch, 0)

    history = model.fit(
        X,
        Y,
        epochs=2,
        verbose=0,
        callbacks=[
            wandb.keras.WandbMetricsLogger(log_freq="batch"),
            wandb.keras.WandbModelCheckpoint(str(tmp_path / "model-{epoch}.keras")),
            Predictions(["index", "truth"], ["epoch", "prediction"]),
            wandb.keras.WandbCallback(monitor="loss", mode="min"),
        ],
    )
    run.finish()
    assert values(server, run, "epoch/loss") == pytest.approx(history.history["loss"])
    assert values(server, run, "loss") == pytest.approx(history.history["loss"])
    assert values(server, run, "batch/batch_step") == [0, 1, 2, 3]
    assert run.summary["best_loss"] == pytest.approx(min(history.history["loss"]))
    assert {path.name for path in tmp_path.glob("*.keras")} == {"model-1.keras", "model-2.keras"}
    assert (Path(run.dir) / "model-best.keras").exists()


def test_catboost_names_come_without_catboost(server):
    """Its callback needs nothing of CatBoost: what it is given has iterations and metrics."""
    from types import SimpleNamespace

    run = wandb.init(project="wb-catboost")
    callback = wandb.catboost.WandbCallback()
    for iteration in range(2):
        metrics = {"learn": {"Logloss": [0.5 - 0.1 * at for at in range(iteration + 1)]}}
        assert callback.after_iteration(SimpleNamespace(iteration=iteration, metrics=metrics))
    run.finish()
    assert values(server, run, "learn-Logloss") == pytest.approx([0.5, 0.4])


@pytest.mark.parametrize("make", ["lightgbm.wandb_callback", "catboost.WandbCallback", "xgboost.WandbCallback"])
def test_callbacks_need_a_run(make):
    """Made before init they say so."""
    module, _, name = make.partition(".")
    if module != "catboost":
        pytest.importorskip(module)
    with pytest.raises(wandb.Error, match=r"wandb\.init"):
        getattr(getattr(wandb, module), name)()
