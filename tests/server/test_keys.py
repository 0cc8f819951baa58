"""Keys, agents, workspaces and projects over HTTP, and the audit of all of it."""

import time

import pytest

WORKSPACE = "/api/v1/workspaces/default-workspace"
KEYS = f"{WORKSPACE}/projects/default-project/api-keys"
FUTURE = int(time.time() * 1000) + 86_400_000


def test_a_key_is_bound_to_its_project(server, send_to):
    """It sees nothing of the others, and cannot manage the workspace even as an admin."""
    send_to("run_other", project="other").start()
    key = server.post(KEYS, json={"scopes": ["admin"], "expiresAtMs": FUTURE}).json()["apiKey"]

    projects = server.get(f"{WORKSPACE}/projects", key=key).json()["projects"]
    assert [one["projectSlug"] for one in projects] == ["default-project"]
    assert server.get("/api/v1/runs/run_other", key=key).status_code == 404
    assert server.post(f"{WORKSPACE}/projects/other/api-keys", key=key, json={"scopes": ["admin"]}).status_code == 404
    assert server.post(KEYS, key=key, json={"scopes": ["project:read"]}).status_code == 200
    for path in ("agents", "users", "audit"):
        assert server.get(f"{WORKSPACE}/{path}", key=key).status_code == 403
    assert server.post(f"{WORKSPACE}/projects", key=key, json={"slug": "new"}).status_code == 403
    assert server.post("/api/v1/workspaces", key=key, json={"slug": "new"}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": "admin"},
        {"scopes": ["admin"], "expiresAtMs": 1},
        {"scopes": ["admin"], "expiresAtMs": -1},
        {"scopes": ["admin"], "expiresAtMs": 2**63},
        {"scopes": ["admin"], "owner": True},
        {},
    ],
)
def test_a_key_that_cannot_be_is_refused(server, body):
    """And nothing is made."""
    assert server.post(KEYS, json=body).status_code == 400
    assert server.get(KEYS).json()["keys"] == []


def test_the_text_of_a_key_is_shown_once(server):
    """The list has everything else, the last use too."""
    made = server.post(KEYS, json={"scopes": ["project:read"], "label": "laptop"}).json()
    server.get("/api/v1/auth/whoami", key=made["apiKey"])

    until = time.monotonic() + 5
    while (found := server.get(KEYS).json()["keys"][0])["lastUsedAtMs"] is None:
        assert time.monotonic() < until, "the last use is written soon after, and never keeps a request waiting"

    assert len(server.get(KEYS).json()["keys"]) == 1
    assert made["apiKey"] not in server.get(KEYS).text
    assert {name: found[name] for name in ("keyId", "label", "scopes", "revokedAtMs", "agentId", "projectSlug")} == {
        "keyId": made["keyId"],
        "label": "laptop",
        "scopes": ["project:read"],
        "revokedAtMs": None,
        "agentId": None,
        "projectSlug": "default-project",
    }


def test_a_key_is_revoked_in_its_own_project_only(server):
    """And again, it stays revoked since when it was."""
    made = server.post(KEYS, json={"scopes": ["project:read"]}).json()
    server.post(f"{WORKSPACE}/projects", json={"slug": "other"})

    elsewhere = server.post(f"{WORKSPACE}/projects/other/api-keys/{made['keyId']}/revoke", json={})
    first, second = [server.post(f"{KEYS}/{made['keyId']}/revoke", json={}).json()["revokedAtMs"] for _ in range(2)]

    assert elsewhere.status_code == 404
    assert first == second
    assert server.get("/api/v1/auth/whoami", key=made["apiKey"]).status_code == 401


def test_active_agents_have_names_of_their_own(server):
    """A client looks them up by name; a revoked one's name is free."""
    first = server.post(f"{WORKSPACE}/agents", json={"name": "bot"}).json()
    taken = server.post(f"{WORKSPACE}/agents", json={"name": "bot"}).status_code
    server.post(f"{WORKSPACE}/agents/{first['agentId']}/revoke", json={})
    second = server.post(f"{WORKSPACE}/agents", json={"name": "bot"})

    assert (taken, second.status_code) == (409, 200)
    keys = f"{WORKSPACE}/agents/{first['agentId']}/api-keys"
    assert server.post(keys, json={"projectSlug": "default-project"}).status_code == 409
    assert server.get(keys).json()["keys"] == []


def test_lists_come_in_pages(server):
    """Agents, users and audit events, each seen once."""
    for n in range(5):
        server.post(f"{WORKSPACE}/agents", json={"name": f"bot {n}"})
        server.post(f"{WORKSPACE}/users", json={"email": f"u{n}@example.org"})

    for path, name, identity, count in (
        ("agents", "agents", "agentId", 5),
        ("users", "users", "userId", 5),
        ("audit", "events", "eventId", 10),
    ):
        seen, cursor = [], ""
        for _ in range(count):
            page = server.get(f"{WORKSPACE}/{path}?limit=2" + (f"&cursor={cursor}" if cursor else "")).json()
            seen += [one[identity] for one in page[name]]
            cursor = page["page"]["nextCursor"]
            if not page["page"]["hasMore"]:
                break
        assert len(seen) == len(set(seen)) == count


def test_workspaces_are_worlds_of_their_own(server, send_to):
    """The owner of a new one begins with an empty default project and sees no other; the server's own sees it."""
    made = server.post("/api/v1/workspaces", json={"slug": "team-b", "name": "Team B"}).json()
    key = made["apiKey"]
    send_to("run_ours", project="default-project").start()

    assert server.get("/api/v1/workspaces", key=key).json()["workspaces"][0]["workspaceSlug"] == "team-b"
    assert server.get("/api/v1/workspaces/team-b/projects", key=key).json()["projects"][0]["runCount"] == 0
    assert server.get("/api/v1/runs/run_ours", key=key).status_code == 404
    assert server.get("/api/v1/workspaces/default-workspace/audit", key=key).status_code == 404
    assert server.get("/api/v1/workspaces/team-b/audit").status_code == 200
    assert server.post("/api/v1/workspaces", key=key, json={"slug": "team-c"}).status_code == 403
    assert server.post("/api/v1/workspaces", json={"slug": "team-b"}).status_code == 409


@pytest.mark.parametrize("slug", ["", ".", "..", "a/b", "A", "ä", "x" * 64, "-a", "a-", "a b", "\u202e", "a\x00"])
@pytest.mark.parametrize("path", ["/api/v1/workspaces", f"{WORKSPACE}/projects"])
def test_slugs_are_plain(server, path, slug):
    """They stand in addresses."""
    assert server.post(path, json={"slug": slug}).status_code == 400


def test_every_route_that_changes_accounts_is_written_down(server):
    """The routes are walked: what needs admin or project:write and is no GET has a name in the audit."""
    from rundial.server.app import RULES

    unnamed = [
        rule.route.path
        for rule in RULES
        if rule.scope in ("admin", "project:write") and "GET" not in rule.route.methods and rule.action is None
    ]
    assert unnamed == []


def test_denials_are_written_down_without_secrets(server):
    """Who tried what; neither keys nor bodies."""
    key = server.post(KEYS, json={"scopes": ["project:read"], "label": "curious"}).json()
    denied = server.post(f"{WORKSPACE}/users", key=key["apiKey"], json={"email": "evil@example.org"})

    answer = server.get(f"{WORKSPACE}/audit?limit=1")

    (event,) = answer.json()["events"]
    assert denied.status_code == 403
    assert (event["action"], event["verdict"], event["actorId"]) == ("user.create", "denied", key["keyId"])
    assert event["requestId"] == denied.json()["requestId"]
    assert "rdk_" not in answer.text and "evil@" not in answer.text
