"""Who may do what on a server, as its HTTP interface has it: signing in, workspaces, projects, keys, agents, audit."""

from __future__ import annotations

from collections.abc import Sequence

from rundial.errors import AuthError, RequestError
from rundial.http import SESSION_COOKIE, HttpSession, Json, given, route


class Accounts(HttpSession):
    """Asks a server who one is and administers who else may come in; arguments as :class:`HttpSession` has them.

    Every method raises :class:`AuthError` when the key is refused, :class:`UnreachableError` when no answer comes and
    :class:`RequestError` for any other answer that is no success.
    """

    # -- who and where --------------------------------------------------------------------------------------------

    def whoami(self) -> Json:
        """Who this client is to the server: ``principal``, ``workspaceSlug``, ``scopes`` and more."""
        return self.call("whoami", "GET", "/auth/whoami")

    def get_cli_capabilities(self) -> Json:
        """What the server can do."""
        return self.call("capability probe", "GET", "/cli/capabilities")

    def login_credentials(self, email: str, password: str) -> str:
        """Sign in with a password; the session is used from here on, and returned."""
        self.call(
            "credentials login", "POST", "/auth/login/credentials", {"email": email, "password": password}, signing=True
        )
        token: str | None = self._session.cookies.get(SESSION_COOKIE)
        if not token:
            raise RequestError("credentials login: the server gave no session. Use an API key.")
        self._session.cookies.clear()
        self._token = token
        return token

    def logout_session(self) -> bool:
        """End the session, if there is one; False when there was none or the server no longer knows it."""
        if not self._token:
            return False
        try:
            self.call("logout", "POST", "/auth/logout", {}, signing=True)
        except AuthError:
            return False
        finally:
            self._token = None
        return True

    def list_workspaces(self, *, limit: int = 100, max_pages: int = 10) -> list[Json]:
        """The workspaces one may see, at most ``max_pages`` pages of ``limit``."""
        return self.pages("workspace discovery", "/workspaces", "workspaces", limit, max_pages)

    def list_projects(self, workspace_slug: str, *, limit: int = 100, max_pages: int = 10) -> list[Json]:
        """The projects of a workspace."""
        path = route("workspaces", workspace_slug, "projects")
        return self.pages("project discovery", path, "projects", limit, max_pages)

    def resolve_run_target(self, workspace: str, project: str) -> Json:
        """The ids behind two names: ``orgId``, ``workspaceSlug``, ``projectSlug``, ``projectId`` and their names."""
        body = {"workspace": workspace, "project": project}
        try:
            return self.call("run target resolve", "POST", "/runs/resolve-target", body)
        except RequestError as error:
            if error.status_code != 404 or error.error_code is not None:
                raise
            raise RequestError(
                f"{self._url} has no route runs/resolve-target: it is an older build. Update it and start it again.",
                404,
            ) from error

    def resolve_project_id(self, workspace_slug: str, project_slug: str) -> str:
        """The id of a project."""
        for project in self.list_projects(workspace_slug, limit=1000):
            if project_slug in (project["projectSlug"], project.get("projectId"), project.get("name")):
                return str(project["projectId"])
        raise RequestError(f"project {project_slug!r} was not found in {workspace_slug!r}.", 404, "NOT_FOUND")

    def create_project(self, workspace_slug: str, project_slug: str, *, name: str | None = None) -> Json:
        """Make a project; one of this name that is there already is an error."""
        path = route("workspaces", workspace_slug, "projects")
        return self.call("project creation", "POST", path, given(slug=project_slug, name=name))

    # -- keys, agents, audit --------------------------------------------------------------------------------------

    def create_api_key(
        self,
        workspace_slug: str,
        project_slug: str,
        scopes: Sequence[str],
        *,
        label: str | None = None,
        expires_at_ms: int | None = None,
    ) -> Json:
        """Make a key for a project; the answer is the only place that ever shows it."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "api-keys")
        return self.call(
            "API key creation", "POST", path, given(scopes=list(scopes), label=label, expiresAtMs=expires_at_ms)
        )

    def list_api_keys(self, workspace_slug: str, project_slug: str) -> list[Json]:
        """The keys of a project."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "api-keys")
        return list(self.call("API key list", "GET", path)["keys"])

    def revoke_api_key(self, workspace_slug: str, project_slug: str, key_id: str) -> Json:
        """Make a key worthless at once."""
        path = route("workspaces", workspace_slug, "projects", project_slug, "api-keys", key_id, "revoke")
        return self.call("API key revoke", "POST", path, {})

    def create_agent(self, workspace_slug: str, name: str) -> Json:
        """Make an agent: an identity for a program."""
        return self.call("agent creation", "POST", route("workspaces", workspace_slug, "agents"), {"name": name})

    def list_agents(
        self, workspace_slug: str, *, status: str | None = None, limit: int = 100, max_pages: int = 10
    ) -> list[Json]:
        """The agents of a workspace; ``status`` is ``active`` or ``revoked``."""
        path = route("workspaces", workspace_slug, "agents")
        return self.pages("agent list", path, "agents", limit, max_pages, status=status)

    def revoke_agent(self, workspace_slug: str, agent_id: str) -> Json:
        """Make an agent and all its keys worthless at once."""
        return self.call("agent revoke", "POST", route("workspaces", workspace_slug, "agents", agent_id, "revoke"), {})

    def create_agent_api_key(
        self,
        workspace_slug: str,
        agent_id: str,
        project_slug: str,
        *,
        scopes: Sequence[str] | None = None,
        label: str | None = None,
        expires_at_ms: int | None = None,
    ) -> Json:
        """Make a key that acts for an agent in a project."""
        path = route("workspaces", workspace_slug, "agents", agent_id, "api-keys")
        chosen = list(scopes) if scopes else None
        body = given(projectSlug=project_slug, scopes=chosen, label=label, expiresAtMs=expires_at_ms)
        return self.call("agent API key creation", "POST", path, body)

    def list_agent_api_keys(self, workspace_slug: str, agent_id: str) -> list[Json]:
        """The keys of an agent."""
        path = route("workspaces", workspace_slug, "agents", agent_id, "api-keys")
        return list(self.call("agent API key list", "GET", path)["keys"])

    def list_audit_events(
        self,
        workspace_slug: str,
        *,
        limit: int = 50,
        agent_id: str | None = None,
        actor_kind: str | None = None,
        max_pages: int = 1,
    ) -> list[Json]:
        """Who did what, newest first; ``actor_kind`` is ``user``, ``api_key``, ``agent`` or ``system``."""
        path = route("workspaces", workspace_slug, "audit")
        return self.pages("audit event list", path, "events", limit, max_pages, agentId=agent_id, actorKind=actor_kind)
