"""A study of Optuna, each trial a step of one run: `python examples/optuna_study.py`."""

from __future__ import annotations

import math

import optuna

from rundial.integrations.optuna import RundialOptunaCallback


def objective(trial: optuna.Trial) -> float:
    """A landscape with a hollow beside the deepest one."""
    x = trial.suggest_float("x", -3, 3)
    y = trial.suggest_float("y", -3, 3)
    shape = trial.suggest_categorical("shape", ["smooth", "rough"])
    return (x - 1) ** 2 + y * y + (0.5 * math.sin(5 * x) ** 2 if shape == "rough" else 0.0)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="hollow", sampler=optuna.samplers.TPESampler(seed=7))
    study.optimize(objective, n_trials=40, callbacks=[RundialOptunaCallback(project="tuning", name="hollow")])
    print(f"lowest point: {study.best_value:.4f} at {study.best_params}")


if __name__ == "__main__":
    main()
