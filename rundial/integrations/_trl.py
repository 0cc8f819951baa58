"""TRL: the prompts and completions that its online trainers gather for their own log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Rows = tuple[list[str], list[list[Any]]]


def completions(trainer: Any) -> Rows | None:
    """Columns and rows of what GRPO, RLOO and distillation trainers generated last, with the rewards.

    Pictures in prompts are left out.

    Args:
        trainer: any Trainer, or None.

    Returns:
        None for a Trainer of another kind, one without ``log_completions``, or one that has generated nothing.
    """
    logs = getattr(trainer, "_logs", None)
    if not getattr(trainer, "log_completions", False) or not isinstance(logs, Mapping) or not logs.get("prompt"):
        return None
    columns = {"prompt": map(_words, logs["prompt"]), "completion": map(_words, logs["completion"])}
    for group in ("rewards", "extra"):
        columns |= logs.get(group) or {}
    if logs.get("advantages"):
        columns["advantage"] = logs["advantages"]
    rows = [list(row) for row in zip(*columns.values())]
    if getattr(trainer, "log_unique_prompts", False):
        rows = list({row[0]: row for row in reversed(rows)}.values())[::-1]
    return list(columns), rows


def _words(message: Any) -> str:
    """A prompt or completion as text: it is one, or a conversation of messages with contents of several parts."""
    if isinstance(message, str):
        return message
    lines = []
    for turn in message:
        content = turn.get("content") if isinstance(turn, Mapping) else turn
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
        lines.append(f"{turn['role']}: {content}" if isinstance(turn, Mapping) and "role" in turn else str(content))
    return "\n".join(lines)
