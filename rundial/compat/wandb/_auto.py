"""``magic=True``: the command line as configuration, and the trainings of Keras, XGBoost and LightGBM by themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

import msgspec

from rundial.diagnostics import warn

if TYPE_CHECKING:
    from rundial.compat.wandb._run import Run


def follow(run: Run) -> None:
    """Keep the long options of the command line, and log what the frameworks train that are imported by now."""
    run.config.setdefaults(options_of(sys.argv[1:]))
    for place, name, callback in (
        ("keras", "Model.fit", _keras),
        ("xgboost", "train", _xgboost),
        ("xgboost.sklearn", "train", _xgboost),
        ("lightgbm", "train", _lightgbm),
        ("lightgbm.sklearn", "train", _lightgbm),
    ):
        owner: Any = sys.modules.get(place)
        *inner, name = name.split(".")
        for part in inner:
            owner = getattr(owner, part, None)
        training = getattr(owner, name, None)
        if training is not None and not hasattr(training, "__wandb_magic__"):
            setattr(owner, name, _following(training, callback))


def options_of(words: Iterable[str]) -> dict[str, Any]:
    """``--name value``, ``--name=value`` and ``--flag`` as a configuration; numbers and the like are read as JSON."""
    found: dict[str, Any] = {}
    waiting: str | None = None
    for word in words:
        if word.startswith("--"):
            name, equals, _ = word[2:].replace("-", "_").partition("=")
            waiting = None if equals or not name else name
            if name:
                found[name] = _value(word.partition("=")[2]) if equals else True
        elif waiting is not None:
            found[waiting] = _value(word)
            waiting = None
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _following(training: Callable[..., Any], callback: Callable[[], Any]) -> Callable[..., Any]:
    """The same training with a callback added, while the active run is one with ``magic``."""

    @wraps(training)
    def train(*args: Any, **kwargs: Any) -> Any:
        from rundial.compat import wandb

        if wandb.run is not None and wandb.run.settings.magic:
            try:
                bound = signature(training).bind(*args, **kwargs)
                given = bound.arguments.get("callbacks") or []
                own = [*given] if isinstance(given, (list, tuple, set)) else [given]
                if not any("wandb" in type(each).__module__ + getattr(each, "__module__", "") for each in own):
                    bound.arguments["callbacks"] = [*own, callback()]
                    args, kwargs = bound.args, bound.kwargs
            except Exception as error:  # noqa: BLE001 - the training must not depend on it
                warn(f"magic could not follow a training ({type(error).__name__}: {error})")
        return training(*args, **kwargs)

    train.__wandb_magic__ = True  # type: ignore[attr-defined]
    return train


def _keras() -> Any:
    from rundial.compat.wandb.integration.keras import WandbMetricsLogger

    return WandbMetricsLogger()


def _xgboost() -> Any:
    from rundial.compat.wandb.integration.xgboost import WandbCallback

    return WandbCallback()


def _lightgbm() -> Any:
    from rundial.compat.wandb.integration.lightgbm import wandb_callback

    return wandb_callback()
