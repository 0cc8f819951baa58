"""The app around the routes: bodies, errors, the page and its files."""

import gzip
import socket
import zlib

import pytest

JSON = {"content-type": "application/json"}
SERIES = "/api/v1/query/series"


def test_every_answer_carries_a_request_id_and_the_security_headers(server):
    """An error names the same id in its body, so that it can be found in the log."""
    answer = server.get("/api/v1/runs/none")

    assert answer.json()["requestId"] == answer.headers["x-request-id"]
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


def test_health_needs_no_key(server):
    """A supervisor asks without credentials."""
    assert server.get("/health/live", key="").json() == {"status": "ok"}
    assert server.get("/health/ready", key="").json() == {"status": "ok"}


def test_a_page_that_is_not_built_says_how_to_build_it(server, monkeypatch, tmp_path):
    """The server is of use without Node."""
    monkeypatch.setattr("rundial.server.app.STATIC", tmp_path)

    answer = server.get("/", key="")

    assert answer.status_code == 200
    assert "make ui" in answer.text
    assert server.get("/assets/app.js", key="").status_code == 404


def test_built_files_are_served_for_ever_and_the_page_is_asked_for_again(server, monkeypatch, tmp_path):
    """The names of the files carry a hash, the page's name does not."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<title>built</title>")
    (tmp_path / "assets" / "app-1f.css").write_text("a{}")
    monkeypatch.setattr("rundial.server.app.STATIC", tmp_path)

    page, style = server.get("/", key=""), server.get("/assets/app-1f.css", key="")

    assert page.text == "<title>built</title>"
    assert page.headers["cache-control"] == "no-cache"
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]


@pytest.mark.parametrize("name", ["..%2f..%2fapp.py", "%2e%2e/app.py", "..%5capp.py", "%00", "/etc/passwd", "."])
def test_a_file_name_never_leaves_the_folder(server, name):
    """A name is compared with what is there and never becomes a path."""
    assert server.get(f"/assets/{name}").status_code == 404


def test_unknown_paths_and_methods_are_told_in_the_envelope(server):
    """With a key one may learn what does not exist."""
    missing, method = server.get("/api/v1/nothing"), server.call("DELETE", "/api/v1/workspaces")

    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "truncated"),
        (b'{"runId": 7, "metricKeys": ["a"]}', 400, "runId"),
        (b'{"runId": "r", "metricKeys": ["a"], "colour": 1}', 400, "colour"),
        (b'{"runId": "r", "metricKeys": []}', 400, "metricKeys"),
        (b'{"runId": "r", "metricKeys": ["a"], "maxPointsPerSeries": 1e999}', 400, ""),
        (b'{"runId": "r", "metricKeys": ["a"], "maxPointsPerSeries": ' + b"9" * 5000 + b"}", 400, ""),
        (b'{"runId": "\xff", "metricKeys": ["a"]}', 400, ""),
        (b'{"runId": "\\ud800", "metricKeys": ["a"]}', 400, ""),
        (b'{"x":' * 100_000, 400, ""),
        (b"[" * 100_000 + b"]" * 100_000, 400, ""),
        (b" " * (1024 * 1024 + 1), 413, "larger"),
    ],
)
def test_json_that_cannot_be_understood_is_refused_by_name(server, body, status, says):
    """Whatever a client sends, the answer is 4xx and names what is wrong."""
    answer = server.post(SERIES, data=body, headers=JSON)

    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


def test_json_must_call_itself_json(server):
    """A form of another site cannot set this content type."""
    answer = server.post(SERIES, data=b"{}", headers={"content-type": "text/plain"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_ENCODING")


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b"{}")[:-4], "gzip", 400),
        (gzip.compress(b"{}") + b"more", "gzip", 400),
        (b"no gzip", "gzip", 400),
        (gzip.compress(bytes(50_000_000)), "gzip", 413),
        (zlib.compress(b"{}"), "deflate", 415),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", 415),
    ],
    ids=["cut", "trailing", "other", "bomb", "deflate", "nested"],
)
def test_compressed_bodies_are_bounded_and_whole(server, body, encoding, status):
    """A bomb is given up at the limit, a damaged body is never half accepted."""
    answer = server.post(SERIES, data=body, headers=JSON | {"content-encoding": encoding})

    assert answer.status_code == status


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1e9", "limit=-1", "limit=%C2%B2", "order=up", "orderBy=x;--", "statuses=on"]
)
def test_query_parameters_are_checked(server, query):
    """Numbers have bounds, names come from a list."""
    answer = server.get(f"/api/v1/workspaces/default-workspace/projects/default-project/runs/query?{query}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_REQUEST")


def test_a_fault_inside_shows_the_client_nothing_but_an_id(server, monkeypatch):
    """The reason is in the log under that id."""
    monkeypatch.setattr(server.store, "runs", None)

    answer = server.get("/api/v1/runs/some")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "INTERNAL_ERROR"
    assert "NoneType" not in answer.text


def test_a_request_that_never_ends_its_head_is_given_up(server, monkeypatch):
    """Slow connections do not collect."""
    monkeypatch.setattr("rundial.server.app.HEAD_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx: ")

        assert connection.recv(1) == b""
