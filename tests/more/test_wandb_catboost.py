"""W&B's callback for CatBoost and its summary, in a real training."""

from __future__ import annotations

from typing import Any

import catboost

import rundial.compat.wandb as wandb
from rundial.compat.wandb.catboost import WandbCallback, log_summary
from tests.more.test_catboost import OPTIONS, X, Y


def test_callback_and_summary(server: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Each iteration is CatBoost's own; parameters, best score, importance and model are kept."""
    monkeypatch.chdir(tmp_path)
    with wandb.init(project="cat") as run:
        model = catboost.CatBoostClassifier(**OPTIONS, iterations=12, depth=3)
        model.fit(X[:80], Y[:80], eval_set=(X[80:], Y[80:]), callbacks=[WandbCallback()])
        log_summary(model, save_model_checkpoint=True)
    record = model.evals_result_
    assert set(record) == {"learn", "validation"}
    for data, metrics in record.items():
        for name, values in metrics.items():
            assert [value for _, value in server.points(run.id, f"{data}-{name}")] == values
    stored = server.get(f"/api/v1/runs/{run.id}")
    assert stored["config"]["depth"] == 3 and stored["summary"]["best_iteration"] == model.get_best_iteration()
    keys = {item["key"] for item in server.get(f"/api/v1/runs/{run.id}/media")["items"]}
    assert {"Feature Importance", "Feature Importance_table"} <= keys
    names = {row["name"] for row in server.get(f"/api/v1/runs/{run.id}/artifacts")["artifacts"]}
    assert f"model_{run.id}" in names
