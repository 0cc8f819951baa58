"""The first record of a run: what ``init()`` was told, checked, and what is known of the process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from rundial.config import Settings, resolve
from rundial.distributed import detect_rank
from rundial.errors import ConfigError
from rundial.events import ResumeMode, RunKind, RunStart
from rundial.names import new_run_id, random_name, run_path
from rundial.repository import git_facts
from rundial.switch import is_enabled
from rundial.transport import CLIENT
from rundial.values import REDACTED, is_secret_name
from rundial.wire import MAX_RECORD_BYTES, encode


def settings(given: Mapping[str, Any]) -> Settings:
    """What a run is to go by; ``disabled`` where logging is switched off. Raises :class:`ConfigError`."""
    resolved = resolve(given)
    return resolved if is_enabled() else msgspec.structs.replace(resolved, mode="disabled")


def first_record(
    settings: Settings,
    name: str | None,
    run_id: str | None,
    kind: RunKind,
    resume: ResumeMode,
    group: str | None,
    job_type: str | None,
    tags: Sequence[str] | None,
    path: str | None,
    alias: str | None,
    notes: str | None,
    time_ms: int | None,
) -> RunStart:
    """The record without its configuration. Arguments as :func:`rundial.init` has them; raises :class:`ConfigError`."""
    check_choice("kind", kind, get_args(RunKind))
    check_choice("resume", resume, get_args(ResumeMode))
    if resume == "must" and run_id is None:
        raise ConfigError("resume='must' needs the run_id of the run to go on with.")
    rank = detect_rank(settings.distributed_rank)
    return RunStart(
        time_ns=time.time_ns() if time_ms is None else _time_ns(time_ms),
        run_id=identifier(run_id) if run_id is not None else new_run_id(),
        workspace=settings.workspace,
        project=settings.project,
        name=str(name).strip() if name and str(name).strip() else random_name(),
        kind=kind,
        resume=resume,
        group=None if group is None else str(group),
        job_type=None if job_type is None else str(job_type),
        tags=texts(tags),
        host=os.uname().nodename,
        pid=os.getpid(),
        rank=rank,
        client=CLIENT,
        system=_facts(settings),
        heartbeat_seconds=settings.heartbeat_seconds,
        part=rank > 0,
        path=None if path is None else run_path(path),
        alias=None if alias is None else str(alias),
        notes=None if notes is None else str(notes),
    )


def with_config(start: RunStart, config: dict[str, Any]) -> tuple[RunStart, dict[str, Any]]:
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


def _time_ns(time_ms: object) -> int:
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


def _facts(settings: Settings) -> dict[str, Any]:
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
