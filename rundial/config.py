"""Settings: what can be set, where it is read from, and which source wins.

Precedence everywhere: argument or flag > environment > ``config.toml`` > default. :func:`resolve` is the one place
that knows, and :data:`ENVIRONMENT` is the one list of variable names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from rundial.errors import ConfigError

Mode = Literal["online", "offline", "disabled"]
Distributed = Literal["rank0", "all"]
TqdmMode = Literal["smart", "all", "none"]

DEFAULT_WORKSPACE = "default-workspace"
DEFAULT_PROJECT = "default-project"
DEFAULT_PORT = 8787
DEFAULT_PROFILE = "default"

ENVIRONMENT: dict[str, str] = {
    "RUNDIAL_PROJECT": "project",
    "RUNDIAL_WORKSPACE": "workspace",
    "RUNDIAL_ENDPOINT": "endpoint",
    "RUNDIAL_API_KEY": "api_key",
    "RUNDIAL_MODE": "mode",
    "RUNDIAL_SPOOL_DIR": "spool_directory",
    "RUNDIAL_QUIET": "quiet",
    "RUNDIAL_CAPTURE_CONSOLE": "capture_console",
    "RUNDIAL_SYSTEM_METRICS": "system_metrics",
    "RUNDIAL_CONTROL_DIR": "control_dir",
}
"""Environment variables that set an option of :class:`Settings`."""

HOME_VARIABLE = "RUNDIAL_HOME"
CONFIG_VARIABLE = "RUNDIAL_CONFIG"
PROFILE_VARIABLE = "RUNDIAL_PROFILE"
"""The profile of ``config.toml`` to use in place of its ``active_profile``."""
KEYRING_SERVICE = "rundial"
KEYRING_PREFIX = "keyring:"
"""A key that begins with this is the name under which the system's keyring has it."""
RANK_VARIABLE = "RUNDIAL_RANK"
ENABLED_VARIABLE = "RUNDIAL_ON"
"""Whether logging is on at all in this process; ``rundial.set_enabled`` wins."""

_MODES = ("online", "offline", "disabled")
_DISTRIBUTED = ("rank0", "all")
_TQDM_MODES = ("smart", "all", "none")
_TRUE = frozenset({"1", "true", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "no", "n", "off"})


class Settings(Struct, frozen=True, kw_only=True):
    """Everything about how a run is logged that is no fact about the run. Sizes in bytes, times in seconds."""

    workspace: str = DEFAULT_WORKSPACE
    project: str = DEFAULT_PROJECT
    endpoint: str | None = None
    """Base URL of a server. None: this machine's own store, see ``rundial ui``."""
    api_key: str | None = None
    mode: Mode = "online"
    """``online`` sends in the background, ``offline`` only writes to the spool, ``disabled`` does nothing."""
    distributed: Distributed = "rank0"
    """``rank0``: only rank 0 logs; ``all``: every rank does, each as its own stream of one run."""
    distributed_rank: int | None = None
    """This process's rank; None reads it from the launcher's environment."""
    quiet: bool = False
    """Print nothing but warnings."""
    init_timeout: float = 2.0
    """How long ``init`` waits for a server's first answer before training goes on without it."""
    finish_timeout: float = 10.0
    """How long the end of the process waits for delivery when nobody called ``finish``."""
    queue_bytes: int = 8 * 1024 * 1024
    """Size of the in-memory queue between ``log()`` and the worker."""
    spool_directory: str = ".rundial_spool"
    """Where records wait for a server; resolved against the working directory at ``init``."""
    spool_max_bytes: int = 1024 * 1024 * 1024
    """Bound of this process's spool; beyond it the oldest data is dropped and counted."""
    spool_max_age_seconds: float | None = None
    """Age beyond which unsent data is dropped and counted; None keeps it until the byte bound."""
    flush_interval_seconds: float = 0.5
    """How often the worker looks at the queue, and about how often it sends."""
    request_timeout_seconds: float = 7.0
    gzip_enabled: bool = True
    gzip_min_bytes: int = 1024
    heartbeat_seconds: float = 15.0
    """How often the server hears of a run that logs nothing."""
    control_dir: str | None = None
    """A queue directory whose commands turn the run's dials, besides those of a server."""
    capture_console: bool = False
    """Keep what the process prints as log lines; the terminal still gets it."""
    tqdm_mode: TqdmMode = "smart"
    """Progress bars in the captured console: ``smart`` keeps their last state, ``all`` every one, ``none`` nothing."""
    system_metrics: bool = True
    """Sample CPU, memory, disk, network and GPUs in the background, as ``system/*``."""
    system_metrics_interval_seconds: float = 10.0
    system_metrics_backpressure_threshold: float = 0.8
    """Share of the queue above which a sample is skipped, and counted."""
    sync_tensorboard: bool | str = False
    """Log what TensorBoard's writers of this process write (True), or the event files of a folder."""
    capture_env: bool = False
    """Keep packages, platform, GPUs and chosen environment variables with the run."""
    capture_git: bool = True
    """Keep the commit, branch and remote of the repository the script stands in."""
    snapshot_code: bool = False
    """Keep the code as an artifact: a zip of the workspace, without what ``.gitignore`` names."""
    workspace_root: str | None = None
    """What the code snapshot packs; None: the nearest folder above that holds ``.git``, else the working directory."""
    snapshot_format: str = "zip"
    force_snapshot: bool = False
    """Pack the workspace however large it is."""
    artifact_concurrency: int = 2
    """Uploads that run at the same time."""
    artifact_queue_capacity: int = 10_000
    """Uploads that may wait; more are refused and counted."""
    artifact_staging_bytes: int = 10 * 1024 * 1024 * 1024
    """Bytes that copies of files and encoded media may take while they wait for a server; hard links cost nothing."""

    def __repr__(self) -> str:
        """Without the key: a repr ends up in tracebacks and logs."""
        shown = (f"{name}={getattr(self, name)!r}" for name in OPTIONS if name != "api_key")
        return f"Settings({', '.join(shown)})"


OPTIONS: dict[str, str] = {name: str(Settings.__annotations__[name]) for name in Settings.__struct_fields__}
"""Names of all options and their types."""
OLDER_OPTIONS = frozenset(
    {
        "queue_capacity",
        "spool_enabled",
        "max_batch_points",
        "retry_max_attempts",
        "retry_base_delay_seconds",
        "retry_max_delay_seconds",
        "retry_jitter_ratio",
        "start_worker_on_init",
        "event_hook",
    }
)
"""Options of the older client whose matter Rundial settles by itself; they are taken and have no effect."""
_MINIMUM: dict[str, float] = {
    "queue_bytes": 64 * 1024,
    "spool_max_bytes": 1024 * 1024,
    "flush_interval_seconds": 0.01,
    "request_timeout_seconds": 0.1,
    "heartbeat_seconds": 1.0,
    "gzip_min_bytes": 1,
    "init_timeout": 0.0,
    "finish_timeout": 0.0,
    "distributed_rank": 0,
    "spool_max_age_seconds": 0.0,
    "system_metrics_backpressure_threshold": 0.01,
    "artifact_concurrency": 1,
    "artifact_queue_capacity": 1,
    "artifact_staging_bytes": 0,
}


def home() -> Path:
    """The user's data folder, where the local store and the registry of spools lie. Not created here."""
    override = os.environ.get(HOME_VARIABLE)
    if override:
        return Path(override).expanduser()
    if sys.platform == "darwin":
        from platformdirs import user_data_path

        return user_data_path("rundial", appauthor=False)
    base = os.environ.get("XDG_DATA_HOME", "").strip()  # what platformdirs answers here, without its import
    return Path(base or "~/.local/share").expanduser() / "rundial"


def config_path() -> Path:
    """Where ``config.toml`` is read from."""
    override = os.environ.get(CONFIG_VARIABLE)
    return Path(override).expanduser() if override else Path("~/.config/rundial/config.toml").expanduser()


def read_config() -> dict[str, Any]:
    """What ``config.toml`` says: its top-level values, overlaid by those of the active profile.

    Raises :class:`ConfigError` when the file cannot be understood: it is never silently ignored.
    """
    top, profile = _scopes()
    return {**top, **profile}


def _scopes() -> tuple[dict[str, Any], dict[str, Any]]:
    """The options at the top of ``config.toml`` and those of its active profile."""
    path = config_path()
    chosen = os.environ.get(PROFILE_VARIABLE, "").strip()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if chosen not in ("", DEFAULT_PROFILE):
            raise ConfigError(f"there is no profile {chosen}. `rundial profile create {chosen}` makes it.") from error
        return {}, {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}. Mend the file or its permissions.") from error
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Mend that line or delete the file.") from error
    name = chosen or document.get("active_profile", DEFAULT_PROFILE)
    profiles = document.get("profiles", {})
    profile = profiles.get(name, {}) if isinstance(profiles, dict) and isinstance(name, str) else None
    if name != DEFAULT_PROFILE and isinstance(profiles, dict) and isinstance(name, str) and name not in profiles:
        raise ConfigError(f"{path}: there is no [profiles.{name}]. `rundial profile create {name}` makes it.")
    if not isinstance(profile, dict):
        raise ConfigError(f"{path}: active_profile must be a name, and [profiles.NAME] a table. Mend the file.")
    return _options_of(document), _options_of(profile)


def _options_of(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in OPTIONS}


def resolve(arguments: Mapping[str, Any]) -> Settings:
    """Settings from all sources; an argument that is None counts as not given, one of :data:`OLDER_OPTIONS` is let go.

    Raises :class:`ConfigError` for an unknown option, a value of the wrong kind, or an empty project or workspace.
    """
    arguments = {name: value for name, value in arguments.items() if name not in OLDER_OPTIONS}
    for name in arguments:
        if name not in OPTIONS:
            import difflib

            close = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Options are: {', '.join(sorted(OPTIONS))}."
            raise ConfigError(f"unknown option {name!r}. {hint}")
    values: dict[str, Any] = {"spool_directory": ".rundial_spool", **read_config()}
    for variable, option in ENVIRONMENT.items():
        text = os.environ.get(variable)
        if text is not None and text.strip():
            values[option] = text.strip()
    values.pop("api_key", None)  # it goes to the server it was set for and to no other
    values.update({name: value for name, value in arguments.items() if value is not None})
    if values.get("endpoint") is not None and "api_key" not in values:
        values["api_key"] = key_for(checked_endpoint(values["endpoint"]))
    if values.get("api_key") is None:
        values.pop("api_key", None)
    return Settings(**{name: _checked(name, value) for name, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    kind = OPTIONS[name]
    if name in ("workspace", "project"):
        return _checked_slug(name, value)
    if name == "endpoint":
        return checked_endpoint(value)
    if name == "mode":
        return _choice(name, str(value).lower(), _MODES)
    if name == "distributed":
        return _choice(name, str(value).lower(), _DISTRIBUTED)
    if name == "tqdm_mode":
        return _choice(name, str(value).lower(), _TQDM_MODES)
    if name == "snapshot_format":
        return _choice(name, str(value).lower(), ("zip",))
    if name in ("spool_directory", "workspace_root", "control_dir"):
        return _directory(name, value)
    if kind == "bool":
        return truth(name, value)
    if name == "sync_tensorboard":
        return value if isinstance(value, bool) else _word_or_path(value)
    if kind.startswith("int"):
        return _number(name, value, int)
    if kind.startswith("float"):
        return _number(name, value, float)
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a string, not {type(value).__name__}.")
    return value


def _word_or_path(value: Any) -> bool | str:
    word = str(value).strip()
    return truth("sync_tensorboard", word) if word.lower() in _TRUE | _FALSE else word


def truth(name: str, value: Any) -> bool:
    """A bool, or a word for one. Raises :class:`ConfigError` for anything else."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ConfigError(f"{name} must be true or false, not {value!r}.")
    return word in _TRUE


def _directory(name: str, value: Any) -> str:
    try:
        path = Path(value).expanduser()
    except TypeError as error:
        raise ConfigError(f"{name} must be a path, not {value!r}.") from error
    try:
        return str(path.absolute())
    except FileNotFoundError:
        return str(home() / "spool")  # the working directory is gone: no reason not to train


def _checked_slug(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a string, not {type(value).__name__}.")
    text = value.strip()
    if not text:
        raise ConfigError(f"{name} is empty. Pass {name}='a-name', set RUNDIAL_{name.upper()}, or leave it out.")
    if len(text) > 200 or not text.isprintable() or "/" in text or text in (".", ".."):
        raise ConfigError(f"{name} {text[:40]!r} cannot be used: at most 200 printable characters, no '/', no '..'.")
    return text


def checked_endpoint(value: Any) -> str:
    """A server's base URL without its trailing slash. Raises :class:`ConfigError` when it is no http(s) URL."""
    text = str(value).strip().rstrip("/")
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest or " " in text:
        raise ConfigError(f"endpoint {text!r} is no URL. Write it like http://127.0.0.1:{DEFAULT_PORT}.")
    return text


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _number(name: str, value: Any, kind: type[int] | type[float]) -> float:
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name} must be a number, not {value!r}.") from error
    minimum = _MINIMUM.get(name)
    if minimum is not None and not number >= minimum:
        raise ConfigError(f"{name} must be at least {minimum:g}, not {number:g}.")
    return number


class LocalServer(NamedTuple):
    """The user's own server, as it announces itself in ``server.json``."""

    url: str
    api_key: str
    host: str
    pid: int


def server_file() -> Path:
    """Where the local server announces itself: ``server.json`` in the home, readable by the user alone."""
    return home() / "server.json"


def local_server() -> LocalServer | None:
    """The local server that announced itself on this host, or None. It may have died since: ask before you trust."""
    try:
        document = msgspec.json.decode(server_file().read_bytes())
        found = LocalServer(document["url"], document["apiKey"], document["host"], int(document["pid"]))
    except (OSError, msgspec.MsgspecError, ValueError, KeyError, TypeError):
        return None
    # Homes are shared between the nodes of a cluster; 127.0.0.1 there is another machine.
    return found if found.host == os.uname().nodename else None


def key_for(endpoint: str) -> str | None:
    """The key this user has for a server: its own when it is the local one, else that set for this endpoint.

    A key configured for one server is never handed to another.
    """
    server = local_server()
    if server is not None and server.url == endpoint:
        return server.api_key
    top, profile = _scopes()
    file_endpoint = profile.get("endpoint", top.get("endpoint"))
    environment_endpoint = os.environ.get("RUNDIAL_ENDPOINT", "").strip() or None
    active = environment_endpoint or file_endpoint
    # Each key with the server it was set for; one that was set alone is for the server that is configured, or named.
    keys = (
        (os.environ.get("RUNDIAL_API_KEY", "").strip(), active),
        (profile.get("api_key"), file_endpoint or active),
        (top.get("api_key"), top.get("endpoint") or active),
    )
    for key, owner in keys:
        if key and (owner is None or str(owner).rstrip("/") == endpoint):
            return opened(str(key))
    return None


def opened(secret: str) -> str | None:
    """A secret of ``config.toml``: as it stands, or what the system's keyring has under its name; None if nothing.

    Raises :class:`ConfigError` when the keyring cannot be opened.
    """
    if not secret.startswith(KEYRING_PREFIX):
        return secret
    import importlib

    try:
        keyring = importlib.import_module("keyring")
    except ImportError as error:
        raise ConfigError("the key is in the system's keyring: pip install 'rundial[keyring]'.") from error
    try:
        found: str | None = keyring.get_password(KEYRING_SERVICE, secret.removeprefix(KEYRING_PREFIX))
    except keyring.errors.KeyringError as error:
        raise ConfigError(f"the system's keyring does not open: {error}. Unlock it, or set RUNDIAL_API_KEY.") from error
    return found
