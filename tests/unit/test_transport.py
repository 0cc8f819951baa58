import email.utils
import http.server
import json
import threading
import time

import pytest

from rundial.config import Settings
from rundial.errors import AuthError
from rundial.transport import HttpTransport, Outcome, delay, parse_retry_after

STREAM = "ef" * 16
REPLY = {"stream": STREAM, "next": 5, "accepted": 5, "duplicate": 0, "rejected": [], "commands": []}


@pytest.fixture
def serve():
    """A real HTTP server that answers every POST with what the test says; gives url and the requests seen."""
    servers = []

    def start(status=200, body=REPLY, headers=None, content_type="application/json"):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("content-length", 0))
                seen.append((self.path, dict(self.headers), self.rfile.read(length)))
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-type": content_type, **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("0.0.0.0", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}", seen

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def deliver(serve):
    transports = []

    def run(chunks=b"chunk", key="rdk_secret", host="127.0.0.1", **answer):
        url, seen = serve(**answer)
        url = url.replace("127.0.0.1", host)
        transports.append(HttpTransport(url, key, Settings(endpoint=url, request_timeout_seconds=2)))
        return transports[-1].deliver(STREAM, chunks), seen

    yield run
    for transport in transports:
        transport.close()


def test_an_acknowledgement_names_stream_and_sequence(deliver):
    """The records travel with key and stream, and the reply says how far the server has come."""
    outcome, seen = deliver()
    path, headers, body = seen[0]
    headers = {name.lower(): value for name, value in headers.items()}
    assert (outcome.verdict, outcome.reply.next) == ("acknowledged", 5)
    assert (path, body) == ("/api/v1/ingest/records", b"chunk")
    assert headers["authorization"] == "Bearer rdk_secret"
    assert headers["x-rundial-stream"] == STREAM


def test_large_bodies_are_compressed(deliver):
    """From gzip_min_bytes on a body travels compressed, but not to this machine."""
    _, seen = deliver(chunks=b"x" * 5000, host="127.0.0.2")
    assert seen[0][1]["content-encoding"] == "gzip"
    assert len(seen[0][2]) < 200
    _, seen = deliver(chunks=b"x" * 5000)
    assert "content-encoding" not in seen[0][1]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({"status": 409, "body": REPLY}, "behind"),
        ({"body": b"<html>please log in</html>", "content_type": "text/html"}, "retry"),
        ({"body": {**REPLY, "stream": "00" * 16}}, "retry"),
        ({"body": {"ok": True}}, "retry"),
        ({"status": 302, "headers": {"location": "http://elsewhere.invalid/"}}, "retry"),
        ({"status": 500, "body": REPLY}, "retry"),
        ({"status": 503, "body": b""}, "retry"),
        ({"status": 404, "body": b"<html>"}, "retry"),
        ({"status": 401, "body": {"error": {"code": "UNAUTHORIZED", "message": "no"}}}, "denied"),
        ({"status": 403, "body": b""}, "denied"),
        ({"status": 404, "body": {"error": {"code": "NOT_FOUND", "message": "no"}}}, "refused"),
        ({"status": 409, "body": {"error": {"code": "CONFLICT", "message": "no"}}}, "refused"),
        ({"status": 400, "body": {"error": {"code": "INVALID_REQUEST", "message": "no"}}}, "bad"),
        ({"status": 413, "body": {"error": {"code": "PAYLOAD_TOO_LARGE", "message": "no"}}}, "bad"),
        ({"status": 413, "body": b"nginx"}, "bad"),
    ],
)
def test_only_a_server_that_knows_us_acknowledges(deliver, answer, verdict):
    """A portal's page, a redirect or a proxy's error is no acknowledgement and no reason to give data up."""
    outcome, _ = deliver(**answer)
    assert outcome.verdict == verdict
    assert (outcome.reply is None) == (verdict != "behind")


def test_a_refusal_says_why_and_what_to_do(deliver):
    """Message and hint of the error envelope reach the user."""
    envelope = {"error": {"code": "FORBIDDEN", "message": "No scope.", "details": {"hint": "Make a key."}}}
    outcome, _ = deliver(status=403, body=envelope)
    assert isinstance(outcome.error, AuthError)
    assert "answered HTTP 403: No scope. Make a key. " in str(outcome.error)


def test_nobody_there_is_an_outcome_and_no_exception():
    """A refused connection is told in one readable line."""
    transport = HttpTransport("http://127.0.0.1:9", None, Settings(request_timeout_seconds=1))
    outcome = transport.deliver(STREAM, b"x")
    transport.close()
    assert outcome.verdict == "retry"
    assert "refused" in str(outcome.error)
    assert "object at 0x" not in str(outcome.error)


def test_retry_after_in_seconds_and_as_a_date():
    """Both forms of RFC 9110 are understood, and a minute is the most."""
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert parse_retry_after("7") == 7
    assert 28 <= parse_retry_after(date) <= 30
    assert parse_retry_after("86400") == 60
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


def test_waiting_grows_and_has_a_limit():
    """Failures in a row wait longer, up to five seconds; a refused key is tried once a minute."""
    waits = [delay(Outcome("retry"), attempt) for attempt in range(1, 20)]
    assert waits[0] <= 0.2
    assert max(waits) <= 5
    assert min(waits[10:]) >= 2.5
    assert delay(Outcome("denied"), 1) == 60
    assert delay(Outcome("retry", retry_after=12.0), 1) == 12
