"""W&B's names over Rundial: ``import rundial.compat.wandb as wandb``.

What is there, what is better and what differs stands in ``docs/wandb-compat.md``. ``wandb.run.sink`` is the
:class:`rundial.Run` behind a run.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rundial.compat.wandb import _init
from rundial.compat.wandb._config import Config
from rundial.compat.wandb._names import LAZY, MODULES, UNSUPPORTED
from rundial.compat.wandb._run import Run
from rundial.compat.wandb._settings import Settings, from_environment
from rundial.compat.wandb._summary import Summary
from rundial.compat.wandb.errors import CommError, Error, UnsupportedSymbol, UsageError
from rundial.compat.wandb.errors.term import termerror, termlog, termwarn

if TYPE_CHECKING:
    from rundial.compat.wandb import plot as plot
    from rundial.compat.wandb.data_types import (
        Audio,
        Classes,
        Graph,
        Histogram,
        Html,
        Image,
        JoinedTable,
        Molecule,
        Object3D,
        PartitionedTable,
        Plotly,
        Table,
        Video,
    )

__version__ = "0.31.0"
"""The version of W&B whose surface this is."""


class AlertLevel(enum.Enum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class _NotBegun:
    """``wandb.config`` and ``wandb.summary`` while there is no run."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        raise _init.not_begun(f"{self.__dict__['_name']}.{key}")

    def __setattr__(self, key: str, value: Any) -> None:
        raise _init.not_begun(f"{self.__dict__['_name']}.{key}")

    def __getitem__(self, key: str) -> Any:
        raise _init.not_begun(f"{self.__dict__['_name']}[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> None:
        raise _init.not_begun(f"{self.__dict__['_name']}[{key!r}]")


run: Run | None = None
"""The active run."""
config: Config = _NotBegun("config")  # type: ignore[assignment]
summary: Summary = _NotBegun("summary")  # type: ignore[assignment]


class _Api:
    """``wandb.api``: what scripts ask before they log in."""

    api_key = "local"
    """Never empty, so that nobody asks for one."""

    def settings(self, key: str | None = None) -> Any:
        """The settings that the environment gives, or one of them."""
        known = Settings(**from_environment())
        return known.get(key) if key else dict(known)

    @property
    def default_entity(self) -> str:
        """The entity of the environment, or an empty text."""
        return str(self.settings("entity") or "")


api = _Api()


class _Setup:
    """What ``wandb.setup`` gives."""

    @property
    def settings(self) -> Settings:
        """The environment's settings, and those that were given to ``setup``."""
        known = Settings(**from_environment())
        known.update(_init.global_settings)
        return known


def setup(settings: Settings | dict[str, Any] | None = None) -> _Setup:
    """Settings for all runs of this process. It starts nothing."""
    _init.global_settings.update(settings)
    return _Setup()


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: Any = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Any = None,
    config: Any = None,
    config_exclude_keys: list[str] | None = None,
    config_include_keys: list[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: Any = None,
    resume: Any = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Any = None,
    **others: Any,
) -> Run:
    """Start a run and make it the active one; the arguments are W&B's. Needs no account and no server.

    Args:
        entity: kept as an attribute; the workspace is the configured one.
        project, name, notes, tags, group, job_type, id: of the run; ``WANDB_PROJECT`` and so on otherwise.
        dir: where the folder ``wandb`` is made.
        config: a mapping, a namespace, a dataclass or a YAML file.
        config_exclude_keys, config_include_keys: which of its names are left out, or kept.
        allow_val_change: whether configuration may be changed without asking.
        mode: ``online``, ``offline``, ``disabled``.
        reinit: while a run is active: ``True`` ends it, ``"create_new"`` makes one beside it; else it is given back.
        resume: ``allow``, ``must``, ``never``, ``auto`` or ``True``.
        save_code: keep the script as an artifact.
        sync_tensorboard: log what TensorBoard's writers write.
        monitor_gym: log the videos that Gym records.
        settings: a :class:`Settings` or a dict.
        others: a name W&B does not have is warned about once; the rest, as ``force``, has no effect.

    Raises:
        UsageError: a wrong value; ``fork_from`` and ``resume_from``.
        CommError: a configured server refuses the run.
    """
    values = dict(locals())
    values |= values.pop("others")
    begun = _init.init(run, _leave, values)
    if run is None or run._ended or reinit != "create_new":
        _enter(begun)
    return begun


def _enter(begun: Run) -> None:
    global run, config, summary
    run, config, summary = begun, begun.config, begun.summary


def _leave(ended: Run) -> None:
    global run, config, summary
    _init.end_of(ended)
    if run is ended:
        run, config, summary = None, _NotBegun("config"), _NotBegun("summary")  # type: ignore[assignment]


def log(data: Any = None, step: int | None = None, commit: bool | None = None, sync: bool | None = None) -> None:
    """Log values to the active run; see :meth:`Run.log`. Raises :class:`Error` without one."""
    if run is None:
        raise _init.not_begun("log()")
    run.log(data, step, commit)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the active run, if there is one."""
    if run is not None:
        run.finish(exit_code)


join = finish


def teardown(exit_code: int | None = None) -> None:
    """The same as :func:`finish`."""
    finish(exit_code)


def login(
    anonymous: Any = None,
    key: str | None = None,
    relogin: bool | None = None,
    host: str | None = None,
    force: bool | None = None,
    timeout: int | None = None,
    verify: bool = True,
    **others: Any,
) -> bool:
    """True. Nobody is asked for a key, and a key that is given is neither kept nor sent."""
    return True


def ensure_configured() -> None:
    """Nothing to do: configuration is read when it is needed."""


def require(requirement: Any = None, experiment: Any = None) -> None:
    """Nothing to do: it switches on what W&B was about to change."""


def _attach(attach_id: str | None = None, run_id: str | None = None, *, run: Any = None) -> Run:
    """The run of another process by its id; makes it the active one here."""
    found = _init.attach(sys.modules[__name__].run, attach_id or run_id, run)
    _enter(found)
    return found


def restore(name: str, run_path: str | None = None, replace: bool = False, root: Any = None) -> Any:
    """Bring and open a file that a run saved; see :meth:`Run.restore`."""
    from rundial.compat.wandb import _files

    return _files.restore(run, name, run_path, replace, root)


def _of_run(name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if run is None:
            raise _init.not_begun(f"{name}()")
        return getattr(run, name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Of the active run; see :meth:`Run.{name}`. Raises :class:`Error` without one."
    return call


alert = _of_run("alert")
define_metric = _of_run("define_metric")
link_artifact = _of_run("link_artifact")
link_model = _of_run("link_model")
log_artifact = _of_run("log_artifact")
log_code = _of_run("log_code")
log_model = _of_run("log_model")
mark_preempting = _of_run("mark_preempting")
save = _of_run("save")
unwatch = _of_run("unwatch")
use_artifact = _of_run("use_artifact")
use_model = _of_run("use_model")
watch = _of_run("watch")


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext wandb``: the cell magic ``%%wandb``."""
    from rundial.compat.wandb import _magic

    _magic.register(ipython)


if "IPython" in sys.modules:
    load_ipython_extension(None)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in LAZY:
        module, _, attribute = LAZY[name].partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), attribute or name)
    elif name in MODULES:
        found = import_module(f"{__name__}.{MODULES[name]}")
    elif name in UNSUPPORTED:
        raise UnsupportedSymbol(f"wandb.{name}")
    else:
        raise AttributeError(f"module 'wandb' has no attribute {name!r}; see docs/wandb-compat.md")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *LAZY, *MODULES})


__all__ = [
    "AlertLevel",
    "Audio",
    "Classes",
    "CommError",
    "Config",
    "Error",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "JoinedTable",
    "Molecule",
    "Object3D",
    "PartitionedTable",
    "Plotly",
    "Run",
    "Settings",
    "Summary",
    "Table",
    "UsageError",
    "Video",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "join",
    "log",
    "login",
    "plot",
    "run",
    "save",
    "setup",
    "summary",
    "termerror",
    "termlog",
    "termwarn",
    "unwatch",
    "watch",
]
