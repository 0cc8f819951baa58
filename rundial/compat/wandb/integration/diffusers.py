"""``autolog`` for Diffusers: what each call of a pipeline makes, with its prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import wraps
from inspect import signature
from typing import Any

from rundial.compat import wandb
from rundial.compat.wandb.integration._autolog import Autolog, Place
from rundial.diagnostics import warn

_PLAIN = (str, int, float, bool)


def _places() -> Iterator[Place]:
    """The pipelines whose modules have been imported: Diffusers imports each when it is asked for."""
    from diffusers import DiffusionPipeline

    waiting: list[type] = [DiffusionPipeline]
    seen: set[type] = set()
    while waiting:
        owner = waiting.pop()
        if owner in seen:
            continue
        seen.add(owner)
        waiting += owner.__subclasses__()
        if "__call__" in vars(owner):
            yield owner, "__call__", owner.__name__


def _wrap(method: Any, label: str) -> Any:
    parameters = [name for name in signature(method).parameters if name != "self"]

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        if wandb.run is not None:
            try:
                _log(wandb.run, label, {**dict(zip(parameters, args)), **kwargs}, result)
            except Exception as error:  # noqa: BLE001 - a picture that cannot be logged must not cost the picture
                warn(f"what {label} made was not logged ({type(error).__name__}: {error})")
        return result

    return call


def _log(run: wandb.Run, label: str, arguments: Mapping[str, Any], result: Any) -> None:
    """Log the media of one call, with the prompts as captions, and its plain arguments as configuration."""
    first = result[0] if isinstance(result, tuple) else result
    row: dict[str, Any] = {}
    for name, make in (("images", _images), ("frames", _videos), ("audios", _sounds)):
        made = getattr(first, name, None)
        if made is None and isinstance(result, tuple) and name == "images":
            made = first
        if made is not None and len(made):
            row[f"{label}/{name}"] = make(made, _texts(arguments.get("prompt")))
    settings = {name: value for name, value in arguments.items() if isinstance(value, _PLAIN) and "prompt" not in name}
    if settings:
        run.config.update({label: settings}, allow_val_change=True)
    if row:
        run.log(row)


def _texts(prompt: Any) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [str(text) for text in prompt or ()]


def _caption(prompts: list[str], number: int, count: int) -> str | None:
    """Pictures of one prompt stand side by side."""
    return prompts[number * len(prompts) // count] if prompts else None


def _images(made: Any, prompts: list[str]) -> list[Any]:
    return [wandb.Image(image, caption=_caption(prompts, at, len(made))) for at, image in enumerate(made)]


def _videos(made: Any, prompts: list[str]) -> list[Any]:
    import numpy as np

    found = []
    for at, frames in enumerate(made):
        pixels = np.stack([np.asarray(frame) for frame in frames])
        if pixels.dtype != np.uint8:
            pixels = (pixels * 255).clip(0, 255).astype(np.uint8)
        found.append(wandb.Video(pixels.transpose(0, 3, 1, 2), fps=8, caption=_caption(prompts, at, len(made))))
    return found


def _sounds(made: Any, prompts: list[str]) -> list[Any]:
    return [
        wandb.Audio(sound, sample_rate=16000, caption=_caption(prompts, at, len(made))) for at, sound in enumerate(made)
    ]


autolog = Autolog(_places, _wrap)
