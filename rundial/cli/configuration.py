"""``config.toml`` as the command line changes it: whole or not at all, 0600, comments kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rundial.cli.context import options
from rundial.config import DEFAULT_PROFILE, PROFILE_VARIABLE, config_path
from rundial.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def read() -> TOMLDocument:
    """The file as it is, empty when there is none. Raises :class:`ConfigError` when it cannot be understood."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = config_path()
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}. Mend the file or its permissions.") from error
    except TOMLKitError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Mend that line or delete the file.") from error


@contextmanager
def edited() -> Iterator[TOMLDocument]:
    """The file to be changed; it is written at the end if it was. Raises :class:`ConfigError`."""
    import tomlkit

    document = read()
    before = tomlkit.dumps(document)
    yield document
    text = tomlkit.dumps(document)
    if text == before:
        return
    path = config_path().resolve()  # where it is a link, as in a folder of dotfiles, the link stays
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}. Make the folder writable.") from error


def profile_name() -> str:
    """The profile in use: the flag, the environment, the file, ``default``."""
    chosen = options.profile or os.environ.get(PROFILE_VARIABLE, "").strip()
    return checked_name(chosen or str(read().get("active_profile", DEFAULT_PROFILE)))


def checked_name(name: str) -> str:
    """A profile's name. Raises :class:`ConfigError`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a profile. Use letters, digits, '-' and '_', at most 64.")
    return name


def profile_of(document: TOMLDocument, name: str) -> Any:
    """The table of a profile, made if it is not there."""
    import tomlkit

    if "profiles" not in document:
        document["profiles"] = tomlkit.table(is_super_table=True)
    profiles: Any = document["profiles"]
    if name not in profiles:
        profiles[name] = tomlkit.table()
    return profiles[name]
