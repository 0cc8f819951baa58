"""``wandb.sagemaker_auth``: what a training on SageMaker needs from the machine that starts it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def sagemaker_auth(overrides: Mapping[str, str] | None = None, path: str = ".", api_key: str | None = None) -> None:
    """Write ``secrets.env`` with the variables of ``overrides``; no key is needed, looked up or added.

    Args:
        overrides: variables for the training's environment.
        path: the folder of the file.
        api_key: of W&B; not written.
    """
    lines = [f"{name}={value}\n" for name, value in (overrides or {}).items()]
    (Path(path) / "secrets.env").write_text("".join(lines))
