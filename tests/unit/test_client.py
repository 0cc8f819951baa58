"""The low-level client by itself: what it is made of, what it counts, what it says when a server does not help."""

import copy
import http.server
import json
import pickle
import threading
import time
import warnings

import pytest

import rundial as rd
import rundial_sdk
from rundial.config import OLDER_OPTIONS, OPTIONS
from rundial.errors import AuthError, RequestError, UnreachableError
from rundial.http import HttpSession
from rundial.lowlevel import Client

OLDER_METHODS = """
health start resolve_run_target resolve_project_id start_run start_run_for_workspace_project run log_metric log_text
log_eval_result log_artifact log_media use_artifact flush close diagnostics whoami list_workspaces list_projects
query_runs get_run_details update_run_status list_metric_keys query_series export_metrics_page query_logs
export_logs_page create_eval_suite create_eval_run eval_suite query_eval_diff create_api_key list_api_keys
revoke_api_key create_agent list_agents revoke_agent create_agent_api_key list_agent_api_keys list_audit_events
get_cli_capabilities login_credentials logout_session set_session_token endpoint api_key session_token
"""


def test_every_method_of_the_older_client_is_there():
    """Under its name, from both import paths."""
    assert [name for name in OLDER_METHODS.split() if not hasattr(Client, name)] == []
    assert rundial_sdk.RundialClient is rundial_sdk.Client is rd.Client is rd.RundialClient is Client


def test_every_option_is_taken():
    """All of the settings, and those of the older client that no longer mean anything."""
    options = dict.fromkeys([name for name in OPTIONS if name != "endpoint"])
    older = dict.fromkeys(OLDER_OPTIONS, 1)
    client = Client(
        "http://127.0.0.1:9/", mode="offline", **{k: v for k, v in {**options, **older}.items() if k != "mode"}
    )

    assert client.endpoint == "http://127.0.0.1:9"
    assert client.health()["mode"] == "offline"


def test_making_one_does_nothing(tmp_path):
    """No thread, no file, no connection; and closing it neither."""
    before = threading.active_count()
    client = Client("http://127.0.0.1:9", api_key="rdk_x", spool_enabled=False, start_worker_on_init=False)
    assert client.api_key == "rdk_x"
    assert client.flush(0.1)
    assert client.close(timeout_seconds=0.1, drain=False)
    assert client.close()
    assert threading.active_count() == before
    assert list((tmp_path / "work").iterdir()) == []


def test_a_mistake_in_an_option_says_so():
    """As in init."""
    with pytest.raises(rd.ConfigError, match="queue_bites"):
        Client(queue_bites=5)
    with pytest.raises(rd.ConfigError, match="is no URL"):
        Client("127.0.0.1")


def test_settings_come_from_the_environment(monkeypatch):
    """Endpoint and key, as for every run."""
    monkeypatch.setenv("RUNDIAL_ENDPOINT", "http://lab.example:1")
    monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_lab")
    client = Client()

    assert (client.endpoint, client.api_key) == ("http://lab.example:1", "rdk_lab")


def test_logging_needs_no_server():
    """Everything waits on disk, counted, in one stream for each run."""
    client = Client(mode="offline")
    for step in range(5):
        assert client.log_metric("digits", "run_a", "loss", step, 1.0 / (step + 1))
        assert client.log_metric("digits", "run_b", "loss", value=0.5)
    assert client.log_text("digits", "run_a", "hello", "warn")
    assert client.log_eval_result("digits", "evr_1", "ex", {"exact": True})
    client.flush(5)
    account = client.diagnostics()
    assert (account.logged, account.pending, account.health) == (15, 15, "buffering")  # 12 and three first records
    assert account.balanced
    assert rd.run is None
    assert not client.close()


def test_disabled_does_nothing(tmp_path):
    """And says that all is well."""
    client = Client(mode="disabled")
    assert client.log_metric("digits", "run_a", "loss", 1, 0.5)
    assert client.flush()
    assert client.diagnostics().health == "disabled"
    assert client.close()
    assert list((tmp_path / "work").iterdir()) == []


def test_other_ranks_log_nothing(tmp_path):
    """Unless all are to."""
    client = Client(mode="offline", distributed_rank=3)
    assert client.log_metric("digits", "run_a", "loss", 1, 0.5)
    assert (client.health()["loggingEnabled"], client.health()["rank"]) == ("false", "3")
    assert list((tmp_path / "work").iterdir()) == []


def test_logging_never_raises():
    """Not for an id that cannot be one, nor after the end."""
    client = Client(mode="offline")
    with pytest.warns(RuntimeWarning, match="run_id"):
        assert not client.log_metric("digits", "a/b", "loss", 1, 0.5)
    with pytest.warns(RuntimeWarning, match="was not stored"):
        assert not client.log_metric("digits", "run_a", "loss", 1, object())
    client.close(0.0)
    with pytest.warns(RuntimeWarning, match="closed"):
        assert not client.log_metric("digits", "run_a", "loss", 1, 0.5)
    with pytest.raises(RequestError, match="closed"):
        client.whoami()


def test_a_run_of_this_process_is_the_same_run():
    """What is logged by its id goes into its own stream, and closing the client does not end it."""
    with rd.init(project="digits", mode="offline", run_id="run_mine") as run, warnings.catch_warnings():
        client = Client(mode="offline")
        client.log_metric("digits", "run_mine", "loss", 1, 0.5)
        assert client.run("digits", "run_mine") is run
        client.close()
        assert run.status == "running"
        assert rd.run is run


def answering(status, body, headers=(), seconds=0.0):
    """A server that gives every request the same answer; use it in a with block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(seconds)
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.server.asked.append((self.command, self.path, json.loads(sent) if sent else None))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.handle_error = lambda *_: None  # a client that gave up waiting
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    return server


def told(status, body, headers=(), seconds=0.0, **options):
    """What the client says of such an answer."""
    with answering(status, body, headers, seconds) as server:
        client = Client(f"http://127.0.0.1:{server.server_port}", **options)
        with pytest.raises(RequestError) as caught:
            client.whoami()
        client.close()
        server.shutdown()
    return caught.value


def test_errors_say_what_and_why():
    """The envelope in words, 401 as its own type; they can be pickled, hashed and copied."""
    body = b'{"error": {"code": "FORBIDDEN", "message": "No.", "details": {"hint": "Ask."}}}'
    error = told(403, body)

    assert isinstance(error, AuthError)
    assert str(error) == "whoami failed with HTTP 403 (FORBIDDEN: No). Hint: Ask."
    assert (error.status_code, error.error_code, error.error_hint) == (403, "FORBIDDEN", "Ask.")
    assert hash(error) and str(pickle.loads(pickle.dumps(error))) == str(copy.copy(error)) == str(error)


def test_strange_answers_are_errors():
    """A proxy's page, a list, an empty success, a redirect."""
    assert str(told(502, b"<html>")) == "whoami failed with HTTP 502"
    assert "no JSON object" in str(told(200, b"<html>"))
    assert "no JSON object" in str(told(200, b"[]"))
    assert "no JSON object" in str(told(204, b""))
    assert told(302, b"", [("location", "http://127.0.0.1:9/")]).status_code == 302


def test_a_server_that_does_not_answer():
    """Refused and too slow are told apart, and neither names an object in memory."""
    with pytest.raises(UnreachableError) as refused:
        Client("http://127.0.0.1:9").whoami()
    slow = told(200, b"{}", seconds=1.0, request_timeout_seconds=0.2)

    assert refused.value.status_code is None
    assert "Connection refused" in str(refused.value)
    assert " at 0x" not in str(refused.value)
    assert (type(slow), slow.error_code) == (UnreachableError, "REQUEST_TIMEOUT")


def test_a_server_without_the_route_is_an_older_build():
    """A 404 that says nothing more means that the route is missing."""
    with answering(404, b"not found") as server:
        client = Client(f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(RequestError, match="older build"):
            client.resolve_run_target("w", "p")
        client.close()
        server.shutdown()


def test_a_key_wins_over_a_session_and_goes_nowhere_else(tmp_path, monkeypatch):
    """A password of ~/.netrc does not take its place; a session says that it is no other site."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session = HttpSession("http://127.0.0.1:9", api_key="rdk_x", session_token="s")
    signed_in = HttpSession("http://127.0.0.1:9/sub", session_token="s")

    assert session._headers(False, False) == {"authorization": "Bearer rdk_x"}
    assert signed_in._headers(False, False) == {"cookie": "rd_session=s", "origin": "http://127.0.0.1:9"}
    assert session._connect().auth is not None


CALLS = [
    (
        lambda client: client.update_run_status("run_a", "failed", 17, "why"),
        ("POST", "/runs/run_a/status", {"status": "failed", "finishedAtMs": 17, "reason": "why"}),
    ),
    (
        lambda client: client.resolve_run_target("w", "p"),
        ("POST", "/runs/resolve-target", {"workspace": "w", "project": "p"}),
    ),
    (
        lambda client: client.query_runs("w/1", "p 1", statuses=["failed", "crashed"]),
        (
            "GET",
            "/workspaces/w%2F1/projects/p%201/runs/query"
            "?limit=25&order=desc&orderBy=startedAtMs&statuses=failed%2Ccrashed",
            None,
        ),
    ),
    (
        lambda client: client.query_series("p", "run_a", ["loss"]),
        (
            "POST",
            "/query/series",
            {
                "projectId": "p",
                "runId": "run_a",
                "metricKeys": ["loss"],
                "range": "full_run",
                "order": "asc",
                "maxPointsPerSeries": 25,
            },
        ),
    ),
    (
        lambda client: client.export_metrics_page("p", "run_a", 1, 2, metric_keys=["loss"], cursor="c"),
        (
            "POST",
            "/export/metrics",
            {
                "projectId": "p",
                "runId": "run_a",
                "startMs": 1,
                "endMs": 2,
                "limit": 1000,
                "format": "json",
                "metricKeys": ["loss"],
                "cursor": "c",
            },
        ),
    ),
    (
        lambda client: client.query_logs("p", "run_a", text="epoch"),
        (
            "POST",
            "/query/logs",
            {"projectId": "p", "runId": "run_a", "limit": 100, "minLevel": "trace", "order": "desc", "text": "epoch"},
        ),
    ),
    (
        lambda client: client.export_logs_page("p", "run_a", 1, 2),
        (
            "POST",
            "/export/logs",
            {"projectId": "p", "runId": "run_a", "startMs": 1, "endMs": 2, "limit": 1000, "format": "json"},
        ),
    ),
    (
        lambda client: client.create_api_key("w", "p", ["metrics:write"], label="ci"),
        ("POST", "/workspaces/w/projects/p/api-keys", {"scopes": ["metrics:write"], "label": "ci"}),
    ),
    (
        lambda client: client.revoke_api_key("w", "p", "key_1"),
        ("POST", "/workspaces/w/projects/p/api-keys/key_1/revoke", {}),
    ),
    (lambda client: client.list_api_keys("w", "p"), ("GET", "/workspaces/w/projects/p/api-keys", None)),
    (lambda client: client.create_agent("w", "bot"), ("POST", "/workspaces/w/agents", {"name": "bot"})),
    (
        lambda client: client.list_agents("w", status="active"),
        ("GET", "/workspaces/w/agents?limit=100&status=active", None),
    ),
    (lambda client: client.revoke_agent("w", "agt_1"), ("POST", "/workspaces/w/agents/agt_1/revoke", {})),
    (
        lambda client: client.create_agent_api_key("w", "agt_1", "p", expires_at_ms=5),
        ("POST", "/workspaces/w/agents/agt_1/api-keys", {"projectSlug": "p", "expiresAtMs": 5}),
    ),
    (lambda client: client.list_agent_api_keys("w", "agt_1"), ("GET", "/workspaces/w/agents/agt_1/api-keys", None)),
    (
        lambda client: client.list_audit_events("w", actor_kind="agent"),
        ("GET", "/workspaces/w/audit?limit=50&actorKind=agent", None),
    ),
    (lambda client: client.get_cli_capabilities(), ("GET", "/cli/capabilities", None)),
]


@pytest.mark.parametrize(("call", "asked"), CALLS, ids=[asked[1].partition("?")[0] for _, asked in CALLS])
def test_calls_are_those_of_the_wire(call, asked):
    """Method, path and body are what every server of this wire expects; what is not given is not sent."""
    with answering(200, b'{"keys": [], "agents": [], "events": [], "rows": []}') as server:
        client = Client(f"http://127.0.0.1:{server.server_port}", api_key="rdk_x")
        call(client)
        client.close()
        server.shutdown()

    method, path, body = asked
    assert server.asked == [(method, f"/api/v1{path}", body)]


def test_signing_in_and_out():
    """The session that the server gives is used from then on, and is gone after signing out."""
    cookie = [("set-cookie", "rd_session=tok; HttpOnly; Path=/")]
    with answering(200, b"{}", cookie) as server:
        client = Client(f"http://127.0.0.1:{server.server_port}")
        assert client.login_credentials("a@b", "secret") == client.session_token == "tok"
        assert client.logout_session()
        assert not client.logout_session()
        client.close()
        server.shutdown()

    assert client.session_token is None
    assert [path for _, path, _ in server.asked] == ["/api/v1/auth/login/credentials", "/api/v1/auth/logout"]
