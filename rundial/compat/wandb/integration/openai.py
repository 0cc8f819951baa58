"""``autolog`` for OpenAI's client: each call of a model is a span with its messages, tokens and errors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from importlib import import_module
from typing import Any

from rundial.compat import wandb
from rundial.compat.wandb.integration._autolog import Autolog, Place
from rundial.integrations._adapter import LazyRun
from rundial.integrations.openai import _system, _traced

_RESOURCES = (
    ("chat.completions", "Completions", ("create", "parse")),
    ("completions", "Completions", ("create",)),
    ("responses", "Responses", ("create", "parse")),
    ("embeddings", "Embeddings", ("create",)),
)


def _places() -> Iterator[Place]:
    for path, name, methods in _RESOURCES:
        module = import_module(f"openai.resources.{path}")
        for owner in (getattr(module, name), getattr(module, f"Async{name}")):
            yield from ((owner, method, f"{path}.{method}") for method in methods if method in vars(owner))


def _wrap(method: Any, label: str) -> Any:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = method.__get__(self)
        if wandb.run is None:
            return bound(*args, **kwargs)
        system = _system(getattr(self, "_client", None))
        return _traced(bound, label, LazyRun(wandb.run.sink, {}), system)(*args, **kwargs)

    return call


autolog = Autolog(_places, _wrap)
