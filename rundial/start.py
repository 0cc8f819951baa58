"""The first record of a run: what ``init()`` was told, checked, and what is known of the process."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rundial.config import Settings
from rundial.errors import ConfigError
from rundial.events import RunStart
from rundial.repository import git_facts
from rundial.values import REDACTED, is_secret_name, plain, redacted
from rundial.wire import MAX_RECORD_BYTES, encode


def split(start: RunStart, config: dict[str, Any]) -> tuple[RunStart, dict[str, Any]]:
    """The first record, with the configuration if it fits in, and what of it must follow."""
    whole = msgspec.structs.replace(start, config=config)
    if len(encode(whole)) <= MAX_RECORD_BYTES:
        return whole, {}
    return start, config


def is_silent(settings: Settings, rank: int) -> bool:
    """Whether this process logs nothing at all: logging is off, or left to another rank."""
    return settings.mode == "disabled" or (settings.distributed == "rank0" and rank > 0)


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises :class:`ConfigError` unless a value is one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


def time_ns(time_ms: object) -> int:
    """A moment in nanoseconds, of one in milliseconds. Raises :class:`ConfigError`."""
    if not isinstance(time_ms, int) or not 0 <= time_ms < 1 << 43:
        raise ConfigError(f"time_ms must be Unix time in whole milliseconds, not {time_ms!r:.80}.")
    return time_ms * 1_000_000


def identifier(value: object) -> str:
    """A run id that can stand in an address. Raises :class:`ConfigError`."""
    text = str(value).strip()
    if not text or len(text) > 128 or not text.isprintable() or any(c in text for c in "/\\?#% "):
        raise ConfigError(f"run_id {text[:40]!r} cannot be used: 1 to 128 characters, no spaces, none of / \\ ? # %.")
    return text


def texts(tags: object) -> list[str]:
    """Tags as a list of texts; one text is one tag. Raises :class:`ConfigError`."""
    if isinstance(tags, str):
        return [tags]
    if tags is not None and not isinstance(tags, Iterable):
        raise ConfigError(f"tags must be a list of texts, not {type(tags).__name__}.")
    return [str(tag) for tag in tags or ()]


def hyper_parameters(config: object) -> dict[str, Any]:
    """A configuration as plain values without secrets. Raises :class:`ConfigError`."""
    if config is None:
        return {}
    values = plain(config)
    if not isinstance(values, dict):
        raise ConfigError(f"config must be a mapping, a namespace or a dataclass, not {type(config).__name__}.")
    return redacted(values)


def facts(settings: Settings) -> dict[str, Any]:
    """What is known of the process without asking another: interpreter, command line, folder, commit."""
    known: dict[str, Any] = {
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "command": _command()[:1000],
        "directory": _directory(),
    }
    git = git_facts(_script_folder()) if settings.capture_git else {}
    return {**known, "git": git} if git else known


def _script_folder() -> Path:
    """Where the running script lies; of a notebook or an interactive session the working directory."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(path).absolute().parent if path else Path(_directory() or "/")


def _command() -> str:
    """The command line without the values of options such as ``--api-key``."""
    words: list[str] = []
    hidden = False
    for word in sys.argv:
        name, equals, _ = word.partition("=")
        secret = word.startswith("-") and is_secret_name(name.lstrip("-"))
        words.append(
            REDACTED if hidden and not word.startswith("-") else f"{name}={REDACTED}" if secret and equals else word
        )
        hidden = secret and not equals
    return " ".join(words)


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""  # removed under our feet: no reason not to train
