"""Copies of a PostgreSQL database by its own programs, ``pg_dump`` and ``pg_restore``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rundial.server.store.engine import Db, StoreError

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version, not all of which are in the path."""


@contextmanager
def dump(url: str, path: Path) -> Iterator[Db]:
    """Dump a database to a new file; gives a connection that sees just what is in it.

    Raises :class:`StoreError` when it cannot be reached, or ``pg_dump`` is missing or fails.
    """
    from rundial.server.store.postgres import Postgres

    backend = Postgres(url)
    try:
        with backend.read() as db:
            snapshot = db.execute("SELECT pg_export_snapshot()").fetchone()[0]
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
            options = ("--format=custom", "--compress=1", "--no-owner", f"--snapshot={snapshot}", f"--file={path}")
            _run("pg_dump", url, *options)
            yield db
    finally:
        backend.close()


def restore(url: str, path: Path) -> None:
    """Fill an empty database from a dump, wholly or not at all.

    Raises :class:`StoreError` when it is not empty, cannot be reached, or ``pg_restore`` is missing or fails.
    """
    if not is_empty(url):
        raise StoreError("the database has tables already. Make a new one with: createdb -E UTF8 NAME.")
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    _run("pg_restore", url, *options, arguments=(str(path),))


def is_empty(url: str) -> bool:
    """Whether a database has no tables. Raises :class:`StoreError` when it cannot be reached."""
    from rundial.server.store.postgres import Postgres

    backend = Postgres(url)
    try:
        with backend.read() as db:
            found = db.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()[0]
    finally:
        backend.close()
    return bool(found == 0)


def _run(program: str, url: str, *options: str, arguments: Sequence[str] = ()) -> None:
    """Run one of the programs. The password travels in the environment, where other users do not see it."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    given: dict[str, Any] = conninfo_to_dict(url)
    password = given.pop("password", None)
    environment = dict(os.environ) if password is None else {**os.environ, "PGPASSWORD": str(password)}
    command = [find(program), *options, "--no-password", f"--dbname={make_conninfo(**given)}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise StoreError(f"{program} failed: {said}. Is it as new as the database?")


def find(program: str) -> str:
    """Where a program of PostgreSQL is, the newest. Raises :class:`StoreError` when it is not installed."""
    versions = sorted(INSTALLED.glob(f"*/bin/{program}"), key=lambda path: _number(path.parent.parent.name))
    found = str(versions[-1]) if versions else shutil.which(program)
    if found is None:
        raise StoreError(
            f"{program} is not installed. Install PostgreSQL's client programs (Debian: postgresql-client), as new as"
            " the database, or back it up with its own means."
        )
    return found


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0
