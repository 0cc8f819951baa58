"""The watcher beside the local server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from rundial.config import Settings
from rundial.delivery import StoreClient
from rundial.diagnostics import warn
from rundial.errors import WireError
from rundial.recovery import deliver_uploads_of, sync
from rundial.segments import scan_segment, segment_paths
from rundial.spool_directories import registered
from rundial.staging import UPLOADS
from rundial.streams import Meta, folder_meta, is_local, stream_folders
from rundial.transport import HttpTransport


class Watcher:
    """Brings this user's spools into the local server, of dead processes and of living ones that cannot reach it.

    Args:
        endpoint: the local server's URL.
        api_key: its owner key.
        interval: seconds between looks.
    """

    def __init__(self, endpoint: str, api_key: str, interval: float = 1.0) -> None:
        self._transport = HttpTransport(endpoint, api_key, Settings(endpoint=endpoint))
        self._store = StoreClient(endpoint, api_key)
        self._endpoint = endpoint
        self._interval = interval
        self._stopping = threading.Event()
        # A checkpoint of many GB must not keep the records of other runs waiting.
        looks = {"rundial-watcher": self.look, "rundial-watcher-uploads": self.look_for_uploads}
        self._threads = [
            threading.Thread(target=self._watch, args=(look,), name=name, daemon=True) for name, look in looks.items()
        ]
        self._positions: dict[str, int] = {}
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin watching, in threads of its own."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, and wait for what is being sent."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10)
        self._transport.close()
        self._store.close()

    def _watch(self, look: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                look()
            except Exception as error:  # noqa: BLE001 - the server must not lose its watcher to one strange folder
                warn(f"the watcher met {type(error).__name__}: {error}; it looks again in a moment")
            self._stopping.wait(self._interval)

    def look(self) -> None:
        """Take in everything there is now."""
        directories = registered()
        for _ in sync(directories, lambda _meta: self._transport, self._belongs_here, frozenset()):
            if self._stopping.is_set():
                return
        for folder in stream_folders(directories):
            meta = folder_meta(folder)
            # A living process on this host has found the server itself; one on another node cannot reach it.
            if meta is not None and self._belongs_here(meta) and meta.get("host") != os.uname().nodename:
                self._follow(folder)

    def look_for_uploads(self) -> None:
        """Take in the uploads of dead processes whose records are all here."""
        for folder in stream_folders(registered()):
            meta = folder_meta(folder) if (folder / UPLOADS).is_dir() and not self._stopping.is_set() else None
            if meta is None or not self._belongs_here(meta):
                continue
            sent = deliver_uploads_of(folder, meta, lambda _meta: self._store, self._stopping.is_set)
            for problem in sent.problems if sent is not None else ():
                if problem not in self._said:  # what cannot be read now cannot be read a second later either
                    self._said.add(problem)
                    warn(f"{meta.get('name')}: {problem}")

    def _belongs_here(self, meta: Meta) -> bool:
        return is_local(meta) or meta.get("endpoint") == self._endpoint

    def _follow(self, folder: Path) -> None:
        """Send what is new in a living process's folder, which stays as it is."""
        position = self._positions.get(folder.name, 0)
        for path in segment_paths(folder):
            try:
                _, segment, _ = scan_segment(path)
            except (OSError, WireError):
                continue  # removed or still being written: the next look sees more
            if segment.next <= position:
                continue
            data = path.read_bytes()
            body = b"".join(data[p.offset : p.offset + p.length] for p in segment.places if p.next > position)
            outcome = self._transport.deliver(folder.name, body) if body else None
            if outcome is None or outcome.reply is None:
                return
            position = self._positions[folder.name] = outcome.reply.next
