"""The server is killed in the middle of real trainings: they end as if nothing had been, and all arrives later."""

from __future__ import annotations

import json

import pytest

from tests.integrations.conftest import history

pytestmark = pytest.mark.frameworks

# Each calls `middle(run)` half way, and leaves in `record` what the framework itself says of the metric, step by step.
XGBOOST = """
    import numpy as np, xgboost
    from rundial.integrations.xgboost import RundialXGBoostCallback
    data = xgboost.DMatrix(np.arange(40.0).reshape(20, 2), np.arange(20.0))
    class Wait(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            if epoch == 5:
                middle(callback.run)
    callback, own = RundialXGBoostCallback(project="killed"), {}
    xgboost.train({"nthread": 1}, data, 20, evals=[(data, "train")], evals_result=own,
                  callbacks=[callback, Wait()], verbose_eval=False)
    record = own["train"]["rmse"]
"""

LIGHTGBM = """
    import lightgbm, numpy as np
    from rundial.integrations.lightgbm import RundialLightGBMCallback
    data = lightgbm.Dataset(np.arange(400.0).reshape(200, 2), np.arange(200.0))
    def wait(env):
        if env.iteration == 5:
            middle(callback.run)
    callback, own = RundialLightGBMCallback(project="killed"), {}
    lightgbm.train({"objective": "regression", "metric": "rmse", "num_threads": 1, "verbosity": -1}, data, 20,
                   valid_sets=[data], valid_names=["train"],
                   callbacks=[callback, wait, lightgbm.record_evaluation(own)])
    record = own["train"]["rmse"]
"""

OPTUNA = """
    import optuna
    from rundial.integrations.optuna import RundialOptunaCallback
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    def wait(study, trial):
        if trial.number == 5:
            middle(callback.run)
    callback = RundialOptunaCallback(project="killed")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=20, callbacks=[callback, wait])
    record = [trial.value for trial in study.trials]
"""

ACCELERATE = """
    import torch
    from accelerate import Accelerator
    import rundial.integrations.accelerate as _
    accelerator = Accelerator(cpu=True, log_with="rundial")
    accelerator.init_trackers("killed")
    model = torch.nn.Linear(2, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.01))
    record = []
    for step in range(20):
        loss = model(torch.ones(4, 2)).square().mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        record.append(loss.item())
        accelerator.log({"loss": record[-1]}, step=step)
        if step == 5:
            middle(accelerator.get_tracker("rundial", unwrap=True))
    accelerator.end_training()
"""

SKLEARN = """
    import numpy as np
    import rundial as rd
    from sklearn.linear_model import SGDRegressor
    from rundial.integrations.sklearn import log_estimator
    run = rd.init(project="killed")
    x = np.random.default_rng(0).normal(size=(64, 2))
    model, record = SGDRegressor(random_state=0), []
    for step in range(20):
        model.partial_fit(x, x[:, 0])
        record.append(model.score(x, x[:, 0]))
        run.log({"r2": record[-1]}, step=step)
        if step == 5:
            middle(run)
    log_estimator(run, model, x, x[:, 0])
"""

FRAMEWORKS = {
    "xgboost": (XGBOOST, "train/rmse"),
    "lightgbm": (LIGHTGBM, "train/rmse"),
    "optuna": (OPTUNA, "value"),
    "accelerate": (ACCELERATE, "loss"),
    "sklearn": (SKLEARN, "r2"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_server_killed_in_the_middle(framework, start_server, script, monkeypatch):
    """The training ends with success, and its whole curve is there once the server is back."""
    pytest.importorskip(framework)
    code, key = FRAMEWORKS[framework]
    server = start_server()
    monkeypatch.setenv("RUNDIAL_ENDPOINT", server.url)
    monkeypatch.setenv("RUNDIAL_API_KEY", server.key)
    monkeypatch.setenv("RUNDIAL_QUIET", "1")
    head = """
    import json, sys
    def middle(run):
        print(run.id, flush=True)
        sys.stdin.readline()
    """
    training = script(head + code + "\n    print(json.dumps(record))\n")
    run_id = training.stdout.readline().decode().strip()
    server.process.kill()
    server.process.wait()
    server.process.stdout.close()
    out, _ = training.communicate(b"\n", timeout=60)
    assert training.returncode == 0
    again = start_server(port=server.port)
    script("import subprocess, sys; subprocess.run([sys.executable, '-m', 'rundial', 'sync'], check=True)").output()
    project = again.get(f"/api/v1/runs/{run_id}")["projectId"]
    again.wait_for(project, lambda run: len(history(again, run["runId"])) >= 20)
    assert again.points(run_id, key) == list(enumerate(json.loads(out)))
