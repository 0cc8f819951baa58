"""Making workspaces and projects."""

from __future__ import annotations

import re
from typing import Any

from rundial.config import DEFAULT_PROJECT, DEFAULT_WORKSPACE
from rundial.server.store import quota
from rundial.server.store.accounts import Principal, insert_key, new_id, now_ms
from rundial.server.store.admission import checked_name
from rundial.server.store.engine import Db, Engine
from rundial.server.store.refusal import Refusal, invalid, not_found
from rundial.server.store.tenancy import check_workspaces

_SLUG = re.compile("[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
Json = dict[str, Any]


class Workspaces:
    """Makes workspaces and projects. Reading them is :class:`Runs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, principal: Principal, slug: str, name: str) -> Json:
        """A new workspace with its default project and an owner's key, whose text is in the answer and nowhere else.

        Only owners of the first workspace, who are those of the server, may. Raises :class:`Refusal`: 403, 400 for a
        slug that cannot be, 409 for one that is taken.
        """
        if principal.workspace_slug != DEFAULT_WORKSPACE or principal.project_id is not None:
            raise Refusal(
                403, "FORBIDDEN", "Only an owner of the first workspace may make others.", "Use the owner's key."
            )
        _check_slug(slug)
        checked_name("name", name)

        def make(db: Db) -> Json:
            if db.execute("SELECT 1 FROM workspaces WHERE slug = ?", (slug,)).fetchone() is not None:
                raise Refusal(409, "CONFLICT", f"There is a workspace {slug}.", "Choose another slug.")
            check_workspaces(db)
            workspace_id = new_id("wsp")
            db.execute(
                "INSERT INTO workspaces (workspace_id, slug, name, created_ms) VALUES (?, ?, ?, ?)",
                (workspace_id, slug, name, now_ms()),
            )
            _insert_project(db, workspace_id, DEFAULT_PROJECT, DEFAULT_PROJECT)
            key_id, key = insert_key(db, workspace_id, None, frozenset({"admin"}), "owner", None)
            return {
                "workspaceId": workspace_id,
                "workspaceSlug": slug,
                "name": name,
                "role": "owner",
                "keyId": key_id,
                "apiKey": key,
            }

        return self._engine.write(make).result()

    def create_project(self, principal: Principal, workspace: str, slug: str, name: str) -> Json:
        """A new project. Raises :class:`Refusal`: 404, 400 for a slug that cannot be, 409 for one that is taken."""
        if workspace not in (principal.workspace_slug, principal.workspace_id):
            raise not_found(f"Workspace {workspace[:200]!r}")
        if principal.project_id is not None:
            raise Refusal(403, "FORBIDDEN", "This key is bound to one project.", "Use a key of the workspace.")
        _check_slug(slug)
        checked_name("name", name)

        def make(db: Db) -> Json:
            held = db.execute(
                "SELECT count(*), coalesce(sum(CASE WHEN slug = ? THEN 1 ELSE 0 END), 0) FROM projects"
                " WHERE workspace_id = ?",
                (slug, principal.workspace_id),
            ).fetchone()
            if held[1]:
                raise Refusal(409, "CONFLICT", f"There is a project {slug}.", "Choose another slug, or use that one.")
            if held[0] >= quota.MAX_PROJECTS:
                raise Refusal(409, "CONFLICT", f"There are {quota.MAX_PROJECTS} projects.", "Use one of them.")
            project_id = _insert_project(db, principal.workspace_id, slug, name)
            return {
                "projectId": project_id,
                "projectSlug": slug,
                "name": name,
                "workspaceSlug": principal.workspace_slug,
                "runCount": 0,
            }

        return self._engine.write(make).result()


def _check_slug(slug: str) -> None:
    if not _SLUG.fullmatch(slug):
        raise invalid(
            f"The slug {slug[:40]!r} cannot be used.", "Write 1 to 63 of a-z, 0-9 and '-', no '-' at either end."
        )


def _insert_project(db: Db, workspace_id: str, slug: str, name: str) -> str:
    project_id = new_id("prj")
    db.execute(
        "INSERT INTO projects (project_id, workspace_id, slug, name, created_ms) VALUES (?, ?, ?, ?, ?)",
        (project_id, workspace_id, slug, name, now_ms()),
    )
    return project_id
