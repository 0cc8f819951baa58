"""``wandb.init``: which project, id, mode and folder, from arguments, settings and ``WANDB_*``, in this order."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import Any

import msgspec

from rundial import runs
from rundial.compat.wandb import _folder
from rundial.compat.wandb._config import Config, parsed
from rundial.compat.wandb._run import Run
from rundial.compat.wandb._settings import Settings, as_dict, from_environment
from rundial.compat.wandb.errors import Error, UsageError
from rundial.compat.wandb.errors.term import silent, termwarn
from rundial.config import DEFAULT_PROJECT as OUR_DEFAULT
from rundial.config import key_for, local_server, resolve
from rundial.errors import ConfigError, RequestError
from rundial.switch import is_enabled

DEFAULT_PROJECT = "uncategorized"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_MODES = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled", "shared": "online"}
_ARGUMENTS = {
    "entity": "entity",
    "project": "project",
    "dir": "root_dir",
    "id": "run_id",
    "name": "run_name",
    "notes": "run_notes",
    "tags": "run_tags",
    "group": "run_group",
    "job_type": "run_job_type",
    "mode": "mode",
    "resume": "resume",
    "resume_from": "resume_from",
    "fork_from": "fork_from",
    "save_code": "save_code",
    "sync_tensorboard": "sync_tensorboard",
    "monitor_gym": "monitor_gym",
    "allow_val_change": "allow_val_change",
    "reinit": "reinit",
    "magic": "magic",
}
"""Arguments of ``init`` and the settings they stand for."""
_IGNORED = frozenset({"force", "anonymous", "tensorboard", "config_exclude_keys", "config_include_keys"})
_OF_THE_SWEEP = frozenset({"entity", "project", "id"})
"""Arguments of ``init`` that the agent of a sweep has the last word on."""
global_settings = Settings()
"""What ``wandb.setup(settings)`` set."""


def generate_id(length: int = 8) -> str:
    """A random id of small letters and digits. ``random.seed`` does not touch it."""
    draw = int.from_bytes(os.urandom(2 * length), "big")
    digits = []
    for _ in range(length):
        draw, digit = divmod(draw, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def init(current: Run | None, on_finish: Any, values: dict[str, Any]) -> Run:
    """Start a run, or give the one that is active.

    Args:
        current: the active run.
        on_finish: told when the run ends.
        values: the arguments of ``wandb.init``.

    Raises:
        UsageError: ``resume="must"`` without an id, or ``fork_from``.
        CommError: a server refuses the run.
    """
    given = as_dict(values)
    settings = _settings(given)
    if current is not None and not current._ended:
        reinit = settings.reinit
        if reinit in (True, "finish_previous"):
            current.finish()
        elif reinit != "create_new":
            if given.get("config"):
                current.config.update(given["config"], allow_val_change=True)
            return current
    if settings.fork_from or settings.resume_from:
        raise UsageError("fork_from and resume_from are not supported; see docs/wandb-compat.md.")
    mode = _mode(settings)
    root = None if mode == "disabled" else _folder.root_of(settings.root_dir)
    resume = _resume(settings, root)
    known_id = bool(settings.run_id)
    run_id = "".join("-" if c in ":;,#?/'\\% " else c for c in str(settings.run_id or generate_id()))
    sink = _open(settings, mode, run_id, resume, own=bool(settings.run_group) and not known_id)
    files = None if root is None else _folder.make(root, run_id, mode == "offline")
    project = settings.project or sink.project
    settings.update({"mode": mode, "project": project, "run_id": run_id})
    config = Config(may_change=bool(settings.allow_val_change))
    run = Run(sink, settings, config, _entity(settings, sink), project, files, on_finish)
    if known_id and resume != "never" and root is not None:
        _go_on(run, root)
    exclude, include = set(given.get("config_exclude_keys") or ()), given.get("config_include_keys")
    wanted = {
        key: value
        for key, value in parsed(given.get("config")).items()
        if key not in exclude and (include is None or key in include)
    }
    config.update(wanted, allow_val_change=run.resumed or None)
    if settings.sweep_config:
        config.update_locked(settings.sweep_config)
    _start_extras(run)
    if mode != "disabled":
        atexit.register(run.before_exit)
    return run


def _settings(given: dict[str, Any]) -> Settings:
    """All there is to know: the environment below ``setup``, below ``settings=``, below arguments."""
    merged = Settings(**from_environment())
    merged.update(global_settings)
    own = as_dict(given.get("settings"))
    merged.update({_ARGUMENTS.get(name, name): value for name, value in own.items()})
    for name, value in given.items():
        if merged.sweep_id and name in _OF_THE_SWEEP and merged[_ARGUMENTS[name]]:
            if value:
                termwarn(f"Ignoring {name} {value!r} when running a sweep.", repeat=False)
        elif name in _ARGUMENTS:
            merged.update({_ARGUMENTS[name]: value})
        elif name == "tensorboard":
            merged.update({"sync_tensorboard": value})
        elif name not in _IGNORED and name not in ("settings", "config"):
            termwarn(f"init() has no argument {name!r} here; it was ignored.", repeat=False)
    if isinstance(merged.run_tags, str):
        merged.update({"run_tags": [merged.run_tags]})
    return merged


def _mode(settings: Settings) -> str:
    word = str(settings.mode or "online").lower()
    if word not in _MODES:
        raise UsageError(f"mode must be online, offline, disabled or shared, not {word!r}.")
    return "disabled" if not is_enabled() else _MODES[word]


def _resume(settings: Settings, root: Path | None) -> Any:
    """``never``, ``must`` or ``continue``. ``auto`` finds the id of a run that did not end in its folder."""
    word = settings.resume
    if word in (True, "auto", "true", "True"):
        if not settings.run_id and root is not None:
            settings.update({"run_id": _noted_id(root) or generate_id()})
            try:
                (root / _folder.RESUME_FILE).write_bytes(msgspec.json.encode({"run_id": settings.run_id}))
            except OSError as error:
                termwarn(f"this run will not be resumed by itself: {error}")
        return "continue"
    if word == "must" and not settings.run_id:
        raise UsageError("resume='must' needs the id of the run to go on with: id=... or WANDB_RUN_ID.")
    if word in ("must", "never"):
        return word
    if word not in (None, False, "allow", ""):
        raise UsageError(f"resume must be allow, must, never, auto or a bool, not {word!r}.")
    return "continue" if settings.run_id else "never"


def _noted_id(root: Path) -> str | None:
    try:
        return str(msgspec.json.decode((root / _folder.RESUME_FILE).read_bytes(), type=dict[str, str])["run_id"])
    except (OSError, msgspec.MsgspecError, KeyError):
        return None


def _open(settings: Settings, mode: str, run_id: str, resume: Any, own: bool) -> runs.Run:
    """The run below. ``own``: every rank of a distributed job has one, which is what a group is for there."""
    options: dict[str, Any] = {"mode": mode} if mode != "online" else {}
    if own:
        options["distributed_rank"] = 0
    if silent() or os.environ.get("WANDB_QUIET", "").strip().lower() in ("1", "true") or settings.silent:
        options["quiet"] = True
    console = str(settings.console or "auto").lower()
    if "RUNDIAL_CAPTURE_CONSOLE" not in os.environ:
        options["capture_console"] = mode != "disabled" and console not in ("off", "disabled")
    try:
        return runs.init(
            project=_project(settings),
            name=settings.run_name,
            run_id=run_id,
            resume=resume,
            group=settings.run_group,
            job_type=settings.run_job_type,
            tags=list(settings.run_tags or ()),
            notes=settings.run_notes,
            **options,
        )
    except RequestError as error:
        from rundial.compat.wandb.errors import AuthenticationError, CommError

        kind = AuthenticationError if error.status_code in (401, 403) else CommError
        raise kind(str(error), error) from error
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _project(settings: Settings) -> str | None:
    """The project in a form that can stand in an address; None for the configured one."""
    text = str(settings.project or "").strip()
    if text:
        return text.replace("/", "-")[:200]
    known = resolve({}).project
    return DEFAULT_PROJECT if known == OUR_DEFAULT else known


def _entity(settings: Settings, sink: runs.Run) -> str:
    """Whose run it is; as there, it is not empty but offline: libraries put it into the paths of artifacts."""
    return settings.entity or ("" if sink.mode != "online" else sink.workspace)


def _go_on(run: Run, root: Path) -> None:
    """Take over the last step, the summary and the configuration of the run that is resumed."""
    known = _known(run)
    if known is not None:
        step, summary, config = known.get("lastStep"), dict(known.get("summary") or {}), dict(known.get("config") or {})
    else:
        step, summary, config = _folder.read_state(root, run.id)
    if step is None and not summary and not config:
        return
    run.resumed = True
    config.pop("_wandb", None)
    run.config._items.update(config)
    run._latest.update(summary)
    if isinstance(step, int):
        run._step = run.starting_step = step + 1


def _known(run: Run) -> dict[str, Any] | None:
    """What a server knows of the run; None without one, or when it does not know it."""
    from rundial.compat.server import ask

    server = local_server()
    endpoint = run.sink._settings.endpoint or (server.url if server is not None else None)
    if endpoint is None or run.offline:
        return None
    run.sink.flush(2.0)
    try:
        known = ask(endpoint, run.sink._settings.api_key or key_for(endpoint), "GET", f"/api/v1/runs/{run.id}")
    except RequestError:
        return None
    return known if known.get("lastStep") is not None or known.get("config") else None


def _start_extras(run: Run) -> None:
    settings = run.settings
    if run.disabled:
        return
    if settings.sweep_id:
        from rundial.compat.wandb._sweep import joined

        joined(run)
    if settings.sync_tensorboard:
        from rundial.compat.wandb.tensorboard import follow

        follow(run)
    if settings.monitor_gym:
        from rundial.compat.wandb.gym import monitor

        monitor()
    if settings.magic:
        from rundial.compat.wandb._auto import follow as follow_trainings

        follow_trainings(run)
    if settings.save_code and not settings.disable_code:
        from rundial.compat.wandb._code import script_path

        script = script_path()
        if script is not None:
            run.sink.log_artifact(script, f"source-{run.project}-{script.name}", "code")


def end_of(run: Run) -> None:
    """Forget the note of an automatic resume: the run has ended as it should."""
    root = Path(run.dir).parent.parent if run._files is not None else None
    if root is not None and _noted_id(root) == run.id:
        (root / _folder.RESUME_FILE).unlink(missing_ok=True)


def attach(current: Run | None, run_id: str | None, run: Any = None) -> Run:
    """The run of another process by its id: this process's own if it is here, else a further part of it.

    Raises:
        UsageError: no id.
    """
    if isinstance(run, Run):
        return run
    if not run_id:
        raise UsageError("_attach() needs the id of a run.")
    if current is not None and current.id == run_id:
        return current
    settings = Settings(**from_environment())
    sink = runs.init(project=_project(settings), run_id=run_id, resume="allow")
    return Run(sink, settings, Config(may_change=True), _entity(settings, sink), sink.project, None, end_of)


def not_begun(name: str) -> Error:
    """What is raised for a call that needs a run."""
    return Error(f"You must call wandb.init() before wandb.{name}")
