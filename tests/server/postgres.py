"""A PostgreSQL server of the tests' own: on a free port, in a folder that goes away, with nothing to protect."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=64MB", "max_connections=200")
_USERS = ("postgres", "nobody")


def binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, of the newest version there is."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


def why_not() -> str | None:
    """Why these tests cannot run here."""
    try:
        import psycopg  # noqa: F401 - only whether it is there
    except ImportError:
        return "psycopg is not installed (pip install 'rundial[postgres]')"
    return None if binaries() is not None else "PostgreSQL is not installed (Debian: apt-get install postgresql)"


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Cluster:
    """The server; use it with ``with``. Its databases are copies of one that a store has furnished."""

    def __init__(self, options: tuple[str, ...] = _FAST) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="rundial-postgres-"))
        self._port = free_port()
        self._template: str | None = None
        self._used: list[str] = []
        # It refuses to run as root.
        root = os.getuid() == 0
        self._user = next((name for name in _USERS if _is_known(name)), None) if root else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)

    def __enter__(self) -> Cluster:
        folder = binaries()
        assert folder is not None
        data = self._folder / "data"
        self._run(
            *(str(folder / "initdb"), "-D", str(data), "-U", "rundial", "-A", "trust", "-E", "UTF8"),
            *("--locale=C.UTF-8", "--no-sync"),
        )
        command = [str(folder / "postgres"), "-D", str(data), "-p", str(self._port), "-k", str(self._folder)]
        for option in ("listen_addresses=127.0.0.1", *self._options):
            command += ["-c", option]
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(command, user=self._user, stdout=self._log, stderr=self._log, cwd=self._folder)
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)  # it waits for connections that somebody forgot
        except subprocess.TimeoutExpired:
            self._process.send_signal(2)
            self._process.wait(10)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql://rundial@127.0.0.1:{self._port}/{name}"

    def empty(self) -> str:
        """The address of a new database with nothing in it."""
        name = f"d{secrets.token_hex(6)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def database(self) -> str:
        """The address of a new database with all tables, in which nobody has stored anything."""
        if self._used:
            return self._used.pop()
        if self._template is None:
            from rundial.server.store.engine import Engine
            from rundial.server.store.schema import migrate

            url = self.empty()
            engine = Engine(url)
            try:
                migrate(engine)
            finally:
                engine.close()
            self._template = url.rpartition("/")[2]
        name = f"d{secrets.token_hex(6)}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """The database that :meth:`database` gave may be emptied and given out again: quicker than a new one."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '2s'")
            connection.execute("SET session_replication_role = replica")  # no checks of foreign keys
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migrations'"
            ).fetchall()
            try:
                connection.execute(";".join(f"DELETE FROM {table}" for (table,) in tables))
            except psycopg.errors.LockNotAvailable:  # somebody who was killed is still there
                return
        self._used.append(url)

    def admin(self, statement: str) -> None:
        """Run a statement outside of every transaction."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, user=self._user, capture_output=True, text=True, cwd=self._folder, check=False)
        assert done.returncode == 0, done.stderr

    def _wait(self) -> None:
        import psycopg

        end = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < end, "PostgreSQL does not answer"
                time.sleep(0.05)


def _is_known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
