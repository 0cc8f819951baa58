"""The guard: who gets in, from where, and what each key may do."""

import http.client
import re
import time

import pytest
import requests

from rundial.server.app import RULES
from rundial.server.auth import ANYONE, PUBLIC
from rundial.server.store.accounts import SCOPES

PUBLIC_ROUTES = {
    ("PUT", "/api/v1/blobs/{uploadId}/{sha256}"),  # these two answer to signed addresses only
    ("GET", "/api/v1/blobs/{artifactId}/{sha256}"),
    ("GET", "/"),
    ("GET", "/assets/{name}"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("POST", "/api/v1/auth/login/link"),
    ("POST", "/api/v1/auth/login/credentials"),
}
ROUTES = [(method, rule.route.path) for rule in RULES for method in sorted(rule.route.methods - {"HEAD"})]
PROTECTED = [route for route in ROUTES if route not in PUBLIC_ROUTES]


def example(path: str) -> str:
    """A route's path with something in place of its parameters."""
    return re.sub(r"{\w+}", "some", path)


def raw(server, headers, method="GET", path="/api/v1/workspaces"):
    """The status of a request with exactly these headers, given as pairs."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_public_routes_are_pinned():
    """A new public route has to be added here on purpose."""
    assert {(m, rule.route.path) for rule in RULES if rule.scope == PUBLIC for m in rule.route.methods - {"HEAD"}} == (
        PUBLIC_ROUTES
    )


@pytest.fixture
def strangers(server):
    """Keys and sessions that are no longer, or never were, good for anything, by what is wrong with them."""
    accounts, users = server.store.accounts, server.store.users
    owner = accounts.verify(server.key)
    revoked_id, revoked = accounts.create_key(owner.workspace_id, scopes=["admin"], label="revoked")
    accounts.revoke_key(revoked_id)
    past = int(time.time() * 1000) - 1
    _, expired = accounts.create_key(owner.workspace_id, scopes=["admin"], label="old", expires_ms=past)
    agent = server.store.agents.create(owner, "gone")
    of_agent = server.store.keys.create(owner, "default-project", ["metrics:write"], "", None, agent["agentId"])
    server.store.agents.revoke(owner, agent["agentId"])
    user, token, _ = users.create(owner, "gone@example.org", "", "owner", None)
    session = accounts.redeem_link(token)
    users.remove(owner, user["userId"])
    return {
        "none": {},
        "empty": {"authorization": "Bearer "},
        "wrong": {"authorization": "Bearer rdk_wrong"},
        "not a key": {"authorization": "Basic YWRtaW46cGFzc3dvcmQ="},
        "revoked": {"authorization": f"Bearer {revoked}"},
        "expired": {"authorization": f"Bearer {expired}"},
        "of a revoked agent": {"authorization": f"Bearer {of_agent['apiKey']}"},
        "of a removed user": {"cookie": f"rd_session={session}", "origin": server.url},
        "made up session": {"cookie": "rd_session=rds_made-up", "origin": server.url},
    }


def test_every_route_refuses_everybody_without_a_valid_key(server, strangers):
    """The routes are walked, so that none can be forgotten, and all give the same answer to all of them."""
    with requests.Session() as session:
        answers = {
            (method, path, who): session.request(method, server.url + example(path), headers=headers, timeout=20)
            for method, path in PROTECTED
            for who, headers in strangers.items()
        }

    assert {at: answer.status_code for at, answer in answers.items() if answer.status_code != 401} == {}
    assert len({str(answer.json()["error"]) for answer in answers.values()}) == 1


def test_every_route_refuses_a_key_without_its_scope(server):
    """For each route a key with every scope but the one its rule names: 403, whatever stands in the request."""
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    without = {
        scope: accounts.create_key(workspace, scopes=SCOPES - {scope, "admin"}, label=f"all but {scope}")[1]
        for scope in SCOPES
    }
    refused = {
        (method, rule.route.path): server.call(method, example(rule.route.path), key=without[rule.scope]).status_code
        for rule in RULES
        for method in sorted(rule.route.methods - {"HEAD"})
        if rule.scope not in (PUBLIC, ANYONE)
    }

    assert {at: status for at, status in refused.items() if status != 403} == {}


def test_the_routes_open_to_every_key_are_pinned(server):
    """What they need beyond a valid key they say themselves: a key without any use is refused by those that write."""
    workspace = server.store.accounts.verify(server.key).workspace_id
    _, key = server.store.accounts.create_key(workspace, scopes=["stream:read"], label="useless")
    answers = {
        (method, rule.route.path): server.call(method, example(rule.route.path), key=key, json={}).status_code
        for rule in RULES
        for method in sorted(rule.route.methods - {"HEAD"})
        if rule.scope == ANYONE
    }

    assert answers == {
        ("POST", "/api/v1/ingest/logs"): 403,
        ("POST", "/api/v1/ingest/traces"): 403,
        ("POST", "/api/v1/ingest/media"): 403,
        ("POST", "/api/v1/artifacts/initiate"): 403,
        ("POST", "/api/v1/artifacts/finalize"): 403,
        ("POST", "/api/v1/artifacts/use"): 403,
        ("POST", "/api/v1/artifacts/download"): 403,
        ("POST", "/api/v1/runs/resolve-target"): 400,
        ("GET", "/api/v1/auth/whoami"): 200,
        ("POST", "/api/v1/auth/password"): 400,
        ("POST", "/api/v1/auth/logout"): 200,
        ("GET", "/api/v1/cli/capabilities"): 200,
        ("GET", "/api/openapi.json"): 200,
        ("GET", "/api/docs"): 200,
    }


def test_no_route_shows_a_key_of_another_workspace_anything(server, send_to):
    """Every route, asked with real names of the first workspace by the owner of a second: as if they did not exist."""
    send_to("run_ours", project="default-project").start()
    server.post("/api/v1/workspaces/default-workspace/users", json={"email": "ann@example.org"})
    agent = server.post("/api/v1/workspaces/default-workspace/agents", json={"name": "ours"}).json()
    stranger = server.post("/api/v1/workspaces", json={"slug": "elsewhere"}).json()["apiKey"]
    names = {"ws": "default-workspace", "pj": "default-project", "runId": "run_ours", "agentId": agent["agentId"]}
    ours = server.get("/api/v1/workspaces/default-workspace/projects").json()["projects"][0]["projectId"]
    names["projectId"] = ours
    asked = {}
    for method, path in PROTECTED:
        if "{" in path:
            address = re.sub(r"{(\w+)}", lambda found: names.get(found[1], "some"), path)
            body = {"slug": "x", "name": "x", "scopes": ["project:read"], "projectSlug": "default-project"}
            asked[method, path] = server.call(method, address, key=stranger, json=body)

    assert {at: answer.status_code for at, answer in asked.items() if answer.status_code not in (400, 404)} == {}
    assert not [at for at, answer in asked.items() if "run_ours" in answer.text or ours in answer.text]
    bodies = {
        "query/series": {"runId": "run_ours", "metricKeys": ["loss"]},
        "query/buckets": {"runIds": ["run_ours"], "metricKeys": ["loss"]},
        "query/markers": {"runIds": ["run_ours"]},
        "query/logs": {"runId": "run_ours"},
        "query/traces": {"runId": "run_ours"},
        "query/evals/results": {"evalRunId": "some", "projectId": ours},
        "export/logs": {"runId": "run_ours"},
        "export/metrics": {"runId": "run_ours"},
        "runs/resolve-target": {"workspace": "default-workspace", "project": "default-project"},
        "runs/start": {"projectId": ours, "runId": "run_ours", "resume": "must"},
        "runs/run_ours/status": {"status": "failed"},
        "runs/run_ours/config": {"config": {"stolen": 1}},
        "artifacts/initiate": {"projectId": ours, "runId": "run_ours", "name": "x", "files": []},
        "artifacts/use": {"projectId": ours, "runId": "run_ours", "artifactRef": "x:latest"},
    }
    answers = {path: server.post(f"/api/v1/{path}", key=stranger, json=body) for path, body in bodies.items()}
    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code not in (400, 404)} == {}
    assert server.get("/api/v1/runs/run_ours").json()["status"] == "running"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api", "/favicon.ico", "/api/v1/runs/a/b", "/assets/a/b"])
def test_without_a_key_nobody_learns_what_exists(server, path):
    """Unknown paths look like known ones."""
    assert server.get(path, key="").status_code == 401
    assert server.call("OPTIONS", path, key="").status_code == 401


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic YWRtaW46cGFzc3dvcmQ=", "rdk_x", "Bearer rdk_" + "x" * 60_000],
)
def test_what_is_no_key_answers_401(server, header):
    """Constant body, whatever was sent."""
    answer = server.get("/api/v1/workspaces", key="", headers={"authorization": header})

    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "A valid key is needed."


def test_a_revoked_key_is_refused_at_once(server):
    """No cache keeps it alive."""
    workspace = server.store.accounts.verify(server.key).workspace_id
    key_id, key = server.store.accounts.create_key(workspace, scopes=["project:read"], label="laptop")
    before = server.get("/api/v1/auth/whoami", key=key).json()

    server.store.accounts.revoke_key(key_id)

    assert (before["keyId"], before["label"], before["scopes"]) == (key_id, "laptop", ["project:read"])
    assert server.get("/api/v1/auth/whoami", key=key).status_code == 401


def test_an_expired_key_is_refused(server):
    """Expiry needs nobody to revoke it."""
    workspace = server.store.accounts.verify(server.key).workspace_id
    past = int(time.time() * 1000) - 1
    _, key = server.store.accounts.create_key(workspace, scopes=["admin"], label="old", expires_ms=past)

    assert server.get("/api/v1/auth/whoami", key=key).status_code == 401


def test_a_key_does_what_its_scopes_say_and_no_more(server, send_to):
    """A reader cannot write, a writer cannot read, neither can make login links."""
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    _, reader = accounts.create_key(workspace, scopes=["project:read"], label="reader")
    _, writer = accounts.create_key(workspace, scopes=["metrics:write", "project:write"], label="writer")

    assert server.get("/api/v1/workspaces", key=reader).status_code == 200
    assert send_to("run_a", key=reader).start().status_code == 403
    assert server.post("/api/v1/auth/links", key=reader).status_code == 403
    assert send_to("run_a", key=writer).start().status_code == 200
    assert server.get("/api/v1/workspaces", key=writer).status_code == 403


def test_what_a_key_may_not_see_looks_as_if_it_did_not_exist(server, send_to):
    """The same answer for a run of another project and for none, on every route that names one."""
    accounts = server.store.accounts
    send_to("run_secret", project="secret").start()
    mine = send_to("run_mine", project="mine").start().json()["run"]["projectId"]
    workspace = accounts.verify(server.key).workspace_id
    scopes = ["project:read", "stream:read"]
    _, key = accounts.create_key(workspace, scopes=scopes, label="guest", project_id=mine)

    def look(run_id):
        body = {"runId": run_id, "metricKeys": ["loss"]}
        chart = {"runIds": ["run_mine", run_id], "metricKeys": ["loss"]}
        answers = [
            server.get(f"/api/v1/runs/{run_id}", key=key),
            server.get(f"/api/v1/runs/{run_id}/markers", key=key),
            server.get(f"/api/v1/runs/{run_id}/dials", key=key),
            server.get(f"/api/v1/runs/{run_id}/commands", key=key),
            server.get(f"/api/v1/runs/{run_id}/commands/cmd_x", key=key),
            server.get(f"/api/v1/metrics/keys?runId={run_id}", key=key),
            server.get(f"/api/v1/stream?runId=run_mine&runId={run_id}", key=key),
            server.get(f"/api/v1/runs/{run_id}/traces/{'ab' * 16}", key=key),
            server.post("/api/v1/query/traces", key=key, json={"runId": run_id}),
            server.post("/api/v1/query/logs", key=key, json={"runId": run_id}),
            server.post("/api/v1/export/logs", key=key, json={"runId": run_id}),
            server.post("/api/v1/export/metrics", key=key, json={"runId": run_id}),
            server.post("/api/v1/query/series", key=key, json=body),
            server.post("/api/v1/query/buckets", key=key, json=chart),
        ]
        return [(answer.status_code, answer.json()["error"]) for answer in answers]

    assert look("run_secret") == look("run_none")
    assert {status for status, _ in look("run_secret")} == {404}
    assert server.get("/api/v1/stream?projectId=secret", key=key).status_code == 404
    assert server.get("/api/v1/runs/run_mine", key=key).status_code == 200


def test_two_authorization_headers_are_refused(server):
    """Never a mix of two callers."""
    host = server.url.removeprefix("http://")
    headers = [("host", host), ("authorization", f"Bearer {server.key}"), ("authorization", "Bearer wrong")]

    assert raw(server, headers) == 400


def test_a_key_in_the_address_is_no_key(server):
    """Addresses end up in logs."""
    assert server.get(f"/api/v1/workspaces?api_key={server.key}&key={server.key}", key="").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.nip.io:{port}", ""])
def test_a_foreign_host_is_refused_even_with_a_key(server, host):
    """A name that an attacker points at 127.0.0.1 does not become ours."""
    port = server.url.rpartition(":")[2]
    headers = [("host", host.format(port=port)), ("authorization", f"Bearer {server.key}")]

    assert raw(server, headers) == 421


def test_local_names_and_allowed_hosts_are_answered(start_server):
    """Behind a proxy the name comes without the port, directly with it."""
    server = start_server(allowed_hosts=("Lab.example",))
    port = server.url.rpartition(":")[2]
    names = [f"localhost:{port}", f"[::1]:{port}", "lab.example", f"lab.example:{port}"]

    assert [raw(server, [("host", name)], path="/health/live") for name in names] == [200] * 4


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil.com", "http://127.0.0.1:1"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_pages_of_other_origins_are_refused(server, method, origin):
    """Every method, with a valid key too, and no CORS header says otherwise."""
    answer = server.call(method, "/api/v1/auth/links", headers={"origin": origin})

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
