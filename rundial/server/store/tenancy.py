"""Tenancy: workspaces that the owner of the server makes by writing to them."""

from __future__ import annotations

import re

from rundial.server.store.accounts import Principal, bound, new_id, now_ms
from rundial.server.store.engine import Db
from rundial.server.store.refusal import Refusal

MAX_WORKSPACES = 1_000


def make_workspace(db: Db, principal: Principal, name: str) -> Principal:
    """A new workspace of that name, and the principal as one of it. Raises :class:`Refusal` 409: there are too many."""
    check_workspaces(db)
    slug = _free_slug(db, name)
    db.execute(
        "INSERT INTO workspaces (workspace_id, slug, name, created_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (new_id("wsp"), slug, name, now_ms()),
    )
    row = db.execute("SELECT workspace_id, slug FROM workspaces WHERE slug = ?", (slug,)).fetchone()
    return bound(principal, row[0], row[1])


def check_workspaces(db: Db) -> None:
    """Whether there may be one more workspace. Raises :class:`Refusal` 409."""
    if db.execute("SELECT count(*) FROM workspaces").fetchone()[0] >= MAX_WORKSPACES:
        raise Refusal(409, "CONFLICT", f"There are {MAX_WORKSPACES} workspaces.", "Use one of them.")


def _free_slug(db: Db, name: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:56].strip("-") or "workspace"
    taken = {row[0] for row in db.execute("SELECT slug FROM workspaces WHERE slug LIKE ?", (stem + "%",))}
    slug, number = stem, 2
    while slug in taken:
        slug, number = f"{stem}-{number}", number + 1
    return slug
