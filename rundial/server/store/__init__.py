"""The store: everything the server keeps, in one folder on disk.

Ingest goes through the one writer and is durable when its future resolves; reading is plain and safe from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import product
from pathlib import Path
from typing import Any

from rundial.server.store.accounts import Accounts, Principal, now_ms
from rundial.server.store.agents import Agents
from rundial.server.store.alerts import Alerts
from rundial.server.store.artifacts import Artifacts
from rundial.server.store.audit import Audit
from rundial.server.store.blobs import Blobs
from rundial.server.store.changes import Change
from rundial.server.store.commands import Commands
from rundial.server.store.compactor import Compactor
from rundial.server.store.deleted import Deleted
from rundial.server.store.engine import Engine, StoreError
from rundial.server.store.eval_runs import Evals
from rundial.server.store.export import Exports
from rundial.server.store.ingest import Ingest
from rundial.server.store.json_evals import JsonEvals
from rundial.server.store.json_wire import JsonWire
from rundial.server.store.keys import Keys
from rundial.server.store.logs import Logs
from rundial.server.store.media import Media
from rundial.server.store.notices import Notices
from rundial.server.store.owner import furnish, make_folder
from rundial.server.store.purge import Purge, claim_place
from rundial.server.store.refusal import Refusal
from rundial.server.store.run_edits import RunEdits
from rundial.server.store.runs import Runs
from rundial.server.store.s3 import Bucket
from rundial.server.store.schema import migrate
from rundial.server.store.series import Series
from rundial.server.store.signing import Signer, signing_secret
from rundial.server.store.spans import Spans
from rundial.server.store.sweeps import Sweeps
from rundial.server.store.uploads import Uploads
from rundial.server.store.users import Users
from rundial.server.store.vitals import Vitals
from rundial.server.store.watch import mark_silent, silent_streams
from rundial.server.store.workspaces import Workspaces
from rundial.wire import Chunk

log = logging.getLogger(__name__)

_WATCH_MILLISECONDS = 5_000
_CLEAN_SECONDS = 5.0


class Store:
    """The data folder, opened.

    Args:
        data: the folder; created when it does not exist, with a default workspace and project and ``owner.key``.
        database: the address of a PostgreSQL database to use instead of a file in the folder. Several processes may
            use it at the same time; those that do share the folder too, which keeps the files.
        artifacts: ``s3://BUCKET/PREFIX`` to keep the files of artifacts and media there instead.

    Raises:
        RundialError: the folder cannot be used, or another server holds it.
    """

    def __init__(self, data: Path, database: str | None = None, artifacts: str | None = None) -> None:
        self._subscribers: tuple[tuple[Callable[[Change], None], Callable[[], None]], ...] = ()
        self._guard = threading.Lock()
        self._delivering = threading.Lock()
        self._engine = Engine(data / "rundial.db" if database is None else database)
        try:
            if self._engine.shared:
                make_folder(data)
            migrate(self._engine)
            self.owner_key = furnish(self._engine, data / "owner.key")
            self.signer = Signer(signing_secret(self._engine))
            self.blobs: Blobs | Bucket
            if artifacts is None:
                self.blobs = Blobs(data / "blobs", data / "lock" if self._engine.shared else None)
            else:
                self.blobs = Bucket(artifacts, self._engine.hold)
            claim_place(self._engine, self.blobs.place)
        except BaseException:
            self._engine.close()
            raise
        self._notices = Notices(self._engine, self._deliver, self._forget, self._miss)
        self.accounts = Accounts(self._engine, self._notices)
        self.keys = Keys(self._engine, self.accounts)
        self.agents = Agents(self._engine, self.accounts)
        self.users = Users(self._engine, self.accounts)
        self.workspaces = Workspaces(self._engine)
        self.audit = Audit(self._engine)
        self.runs = Runs(self._engine)
        self.alerts = Alerts(self._engine)
        self.deleted = Deleted(self._engine)
        self.series = Series(self._engine)
        self.exports = Exports(self._engine)
        self.logs = Logs(self._engine)
        self.spans = Spans(self._engine)
        self.run_edits = RunEdits(self._engine, self._publish)
        self.sweeps = Sweeps(self._engine, self._publish)
        self.commands = Commands(self._engine, self._dials_changed)
        self._ingest = Ingest(self._engine, self._publish)
        self.evals = Evals(self._engine)
        self.json_evals = JsonEvals(self._engine, self._publish)
        self.wire = JsonWire(self._engine, self._publish)
        self.artifacts = Artifacts(self._engine, self._publish)
        self.media = Media(self._engine, self._publish)
        self.uploads = Uploads(self._engine, self.blobs, self.signer, self._publish)
        self._purge = Purge(self._engine, self.blobs)
        self._cleaner = threading.Thread()
        self.vitals = Vitals(self._engine, data)
        self._since_ms = self._watched_ms = now_ms()
        self._compactor = Compactor(self._engine, self._watch)
        self._compactor.start()
        self._notices.start()

    @property
    def shared(self) -> bool:
        """Whether other processes may use the same database."""
        return self._engine.shared

    def ingest(
        self, principal: Principal, stream: str, chunks: Sequence[Chunk], page_url: str
    ) -> Future[tuple[int, dict[str, Any]]]:
        """Take in consecutive chunks of one stream; none at all is a sign of life.

        Resolves after the commit to the HTTP status (200, or 409 when the chunks begin after what is expected) and the
        body of the answer; raises :class:`Refusal`. ``page_url`` is the base of the links in the answer.
        """
        return self._ingest.submit(principal, stream, chunks, page_url)

    def subscribe(
        self, callback: Callable[[Change], None], missed: Callable[[], None] = lambda: None
    ) -> Callable[[], None]:
        """Call ``callback`` after each commit, one at a time; returns how to end it.

        It is called on the writer thread, or on that which hears of the commits of other processes, so it must be
        quick. ``missed`` is called when some of those could not be heard.
        """
        entry = (callback, missed)
        with self._guard:
            self._subscribers += (entry,)

        def unsubscribe() -> None:
            with self._guard:
                self._subscribers = tuple(known for known in self._subscribers if known is not entry)

        return unsubscribe

    def close(self) -> None:
        """Commit what waits and give up the folder. May be called twice."""
        self._compactor.stop()
        self._purge.stop()
        if self._cleaner.ident is not None:
            self._cleaner.join(_CLEAN_SECONDS)
        self._engine.close()
        self._notices.close()
        self.blobs.close()

    def _publish(self, changes: Sequence[Change]) -> None:
        self._deliver(changes)
        self._notices.tell(changes)

    def _deliver(self, changes: Sequence[Change]) -> None:
        with self._delivering:
            for (callback, _), change in product(self._subscribers, changes):
                try:
                    callback(change)
                except Exception:  # one listener's failure is not the others'
                    log.exception("a subscriber failed")

    def _miss(self) -> None:
        for _, missed in self._subscribers:
            missed()

    def _forget(self) -> None:
        self.accounts.forget()

    def _dials_changed(self, run_id: str) -> None:
        with self._engine.read() as db:
            row = db.execute("SELECT project_id, workspace_id FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if row is not None:
            self._publish([Change(run_id, row[0], row[1], [], [], False, frozenset({"dials"}))])

    def _watch(self) -> None:
        if now_ms() - self._watched_ms >= _WATCH_MILLISECONDS:
            self._watched_ms = now_ms()
            with self._engine.read() as db:
                silent = silent_streams(db, self._since_ms)
            if silent:  # to mark one holds everything, so nobody does it for nothing
                self._engine.write(lambda db: mark_silent(db, self._since_ms), self._publish).result()
            if self.blobs.origin is None:
                self._clean()
            elif not self._cleaner.is_alive():  # S3 may be slow, and the runs are not to wait for it
                self._cleaner = threading.Thread(target=self._clean, name="rundial-purge", daemon=True)
                self._cleaner.start()

    def _clean(self) -> None:
        try:
            with self._engine.claim("purge") as mine:
                if mine:
                    self._purge.tick()
        except (Refusal, StoreError, self._engine.error) as error:
            log.error("the purge waits for its next pass: %s", error)
