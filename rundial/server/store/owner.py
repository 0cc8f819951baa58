"""The owner of a server: what a new data folder needs, and the key in it that may do everything."""

from __future__ import annotations

import os
from pathlib import Path

from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE
from rundial.server.store.accounts import digest, insert_key, new_id, now_ms
from rundial.server.store.engine import Db, Engine, StoreError


def furnish(engine: Engine, key_file: Path) -> str:
    """What a new data folder needs: the default workspace and project, and the owner's key in ``key_file`` (0600).

    Returns the owner's key. When the file is missing or holds another key, a new one is made and the old one revoked.
    """
    try:
        with engine.hold("owner key"):
            kept = key_file.read_text(encoding="ascii", errors="replace").strip() if key_file.exists() else ""
            if engine.write(lambda db: _prepare(db, kept)).result():
                return kept
            _, key = engine.write(_replace_owner).result()
            _write_secret(key_file, key)
    except OSError as error:
        raise StoreError(f"{key_file} cannot be used: {error.strerror}. Mend its permissions or delete it.") from error
    return key


def make_folder(folder: Path) -> None:
    """Create a data folder that several processes share. Raises :class:`StoreError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"the data folder {folder} cannot be used: {error.strerror}. Choose another or mend its permissions."
        ) from error


def _prepare(db: Db, kept: str) -> bool:
    """Whether the key in the file is the owner's still."""
    workspace_id, project_id = new_id("wsp"), new_id("prj")
    db.execute(
        "INSERT INTO workspaces (workspace_id, slug, name, created_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (workspace_id, DEFAULT_WORKSPACE, DEFAULT_WORKSPACE, now_ms()),
    )
    db.execute(
        "INSERT INTO projects (project_id, workspace_id, slug, name, created_ms)"
        " SELECT ?, workspace_id, ?, ?, ? FROM workspaces WHERE slug = ? ON CONFLICT DO NOTHING",
        (project_id, DEFAULT_PROJECT, DEFAULT_PROJECT, now_ms(), DEFAULT_WORKSPACE),
    )
    row = db.execute(
        "SELECT 1 FROM settings JOIN api_keys ON key_id = value"
        " WHERE settings.name = 'owner_key' AND hash = ? AND revoked_ms IS NULL",
        (digest(kept),),
    ).fetchone()
    return row is not None


def _replace_owner(db: Db) -> tuple[str, str]:
    db.execute(
        "UPDATE api_keys SET revoked_ms = ? WHERE revoked_ms IS NULL"
        " AND key_id = (SELECT value FROM settings WHERE name = 'owner_key')",
        (now_ms(),),
    )
    workspace_id = db.execute("SELECT workspace_id FROM workspaces WHERE slug = ?", (DEFAULT_WORKSPACE,)).fetchone()[0]
    key_id, key = insert_key(db, workspace_id, None, frozenset({"admin"}), "owner", None)
    db.execute(
        "INSERT INTO settings (name, value) VALUES ('owner_key', ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (key_id,),
    )
    return key_id, key


def _write_secret(path: Path, secret: str) -> None:
    """Readable by the owner alone from its first moment, and never half written."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    fresh.replace(path)
