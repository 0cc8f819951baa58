"""Log lines: kept in blobs, numbered by arrival, found by level, text, source and time, and followed."""

import time

import pytest

from rundial.events import LogLine
from rundial.server.store.logs import BLOCK, SCAN_LINES

QUERY = "/api/v1/query/logs"
EXPORT = "/api/v1/export/logs"


def line(message, level="info", time_ms=1_000, source="text", truncated=False):
    """One line as the SDK says it."""
    return LogLine(time_ms * 1_000_000, level, message, source, truncated)


@pytest.fixture
def sender(send_to):
    """A stream of a run without lines."""
    sender = send_to("run_a")
    sender.start()
    return sender


def ask(server, path=QUERY, **body):
    """The answer to a query about run_a."""
    answer = server.post(path, json={"runId": "run_a", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def messages(answer):
    """The messages of an answer, in its order."""
    return [row["message"] for row in answer["rows"]]


def pages(server, path=QUERY, **body):
    """All rows, page after page."""
    rows, cursor = [], None
    while True:
        answer = ask(server, path, cursor=cursor, **body)
        rows += answer["rows"]
        cursor = answer["page"]["nextCursor"]
        if not answer["page"]["hasMore"]:
            return rows


def blobs(server):
    """Place and size of every blob."""
    with server.store._engine.read() as db:
        return db.execute("SELECT place, lines FROM log_blobs WHERE run_id = 'run_a' ORDER BY place").fetchall()


def test_lines_are_newest_first_with_their_numbers(server, sender):
    """A row says when, which line, how bad, what, and who wrote it."""
    sender.send(line("first", "warn", 5, "stdout"), line("second", "error", 4, "stderr", truncated=True))

    answer = ask(server)

    assert answer["runId"] == "run_a"
    assert answer["rows"] == [
        {"timestampMs": 4, "sequence": 2, "level": "error", "message": "second", "source": "stderr", "truncated": True},
        {"timestampMs": 5, "sequence": 1, "level": "warn", "message": "first", "source": "stdout", "truncated": False},
    ]
    assert answer["page"] == {"hasMore": False, "nextCursor": None, "tailCursor": "3"}


def test_a_run_without_lines_has_none(server, sender):
    """And the tail begins with the first line there will be."""
    assert ask(server) == {
        "runId": "run_a",
        "rows": [],
        "page": {"hasMore": False, "nextCursor": None, "tailCursor": "1"},
    }


def test_what_the_older_client_sends_is_understood(server, sender):
    """With the project's id, every field given."""
    sender.send(line("hello"))
    project = server.get("/api/v1/runs/run_a").json()["projectId"]
    body = {"projectId": project, "limit": 100, "minLevel": "trace", "order": "desc", "text": "hell"}

    assert messages(ask(server, **body)) == ["hello"]
    exported = ask(server, EXPORT, projectId=project, startMs=0, endMs=2_000, limit=1000, format="json")
    assert messages(exported) == ["hello"]


def test_levels(server, sender):
    """All from a level on."""
    levels = ("trace", "debug", "info", "warn", "error", "fatal")
    sender.send(*(line(level, level) for level in levels))

    for number, level in enumerate(levels):
        assert messages(ask(server, minLevel=level, order="asc")) == list(levels[number:])


def test_text_in_whatever_case_and_colour(server, sender):
    """A part of the message; signs mean themselves, and colours do not come between."""
    sender.send(line("Epoch 3 done"), line("lo\x1b[1;31mss\x1b[0m 0.5"), line("100% of ÄPFEL"), line("nothing"))

    assert messages(ask(server, text="EPOCH 3")) == ["Epoch 3 done"]
    assert len(messages(ask(server, text="loss"))) == 1
    assert messages(ask(server, text="%")) == ["100% of ÄPFEL"]
    assert messages(ask(server, text="äpfel")) == ["100% of ÄPFEL"]
    assert messages(ask(server, text="31m")) == []


def test_sources(server, sender):
    """What one stream or logger said."""
    sender.send(line("a", source="stdout"), line("b", source="stderr"), line("c", source="stdout"))
    sender.send(line("d", source="stderr"))

    assert messages(ask(server, source="stderr", order="asc")) == ["b", "d"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("size", [1, 7, 999, 1000, 1001, 2500])
def test_pages_hold_every_line_once(server, sender, order, size):
    """However the lines came and wherever a page ends."""
    for first in range(0, 2500, size):
        sender.send(*(line(f"line {i}") for i in range(first, min(first + size, 2500)))) if size > 1 else None
    if size == 1:
        sender.send(*(line(f"line {i}") for i in range(2490)))
        for i in range(2490, 2500):
            sender.send(line(f"line {i}"))

    rows = pages(server, order=order, limit=333)

    numbers = range(1, 2501) if order == "asc" else range(2500, 0, -1)
    assert [(row["sequence"], row["message"]) for row in rows] == [(n, f"line {n - 1}") for n in numbers]


def test_full_blocks_become_one_blob(server, sender):
    """Lines, levels, sources and flags survive it."""
    for i in range(30):
        sender.send(*(line(f"{i}.{j}", "warn" if j == 3 else "info", i, f"s{j % 3}", j == 5) for j in range(77)))

    assert blobs(server)[:2] == [(1, BLOCK), (BLOCK + 1, BLOCK)]
    assert all((place - 1) // BLOCK == 2 for place, _ in blobs(server)[2:])
    rows = pages(server, order="asc", limit=500)
    assert len(rows) == 30 * 77
    for number, row in enumerate(rows):
        i, j = divmod(number, 77)
        expected = (f"{i}.{j}", "warn" if j == 3 else "info", i, f"s{j % 3}", j == 5)
        assert (row["message"], row["level"], row["timestampMs"], row["source"], row["truncated"]) == expected
    assert len(pages(server, minLevel="warn", limit=7)) == 30


def test_following(server, sender):
    """What came since is asked for with the tail of the answer before, also when nothing matched."""
    sender.send(line("a"), line("b"))
    tail = ask(server, limit=1)["page"]["tailCursor"]
    assert ask(server, order="asc", cursor=tail)["rows"] == []

    sender.send(line("c"), line("d", "error"))
    answer = ask(server, order="asc", cursor=tail)
    again = ask(server, order="asc", cursor=answer["page"]["tailCursor"])

    assert messages(answer) == ["c", "d"]
    assert messages(again) == []
    assert messages(ask(server, order="asc", cursor=tail, minLevel="error")) == ["d"]


def test_a_search_through_very_much_goes_on_page_by_page(server, sender):
    """One request looks at so much and no more, and says where it stopped."""
    for block in range(SCAN_LINES // BLOCK + 5):
        assert sender.send(*[line(f"block {block}")] * BLOCK).json()["accepted"] == BLOCK
    sender.send(line("needle"))

    first = ask(server, order="asc", text="needle")
    rows = pages(server, order="asc", text="needle")

    assert (first["rows"], first["page"]["hasMore"]) == ([], True)
    assert [row["message"] for row in rows] == ["needle"]
    assert [row["message"] for row in pages(server, order="desc", text="needle")] == ["needle"]


def test_export_keeps_to_its_time(server, sender):
    """Both ends are included, the order is that of arrival."""
    sender.send(*(line(f"{i}", time_ms=i * 10) for i in range(10)))

    assert [row["message"] for row in pages(server, EXPORT, startMs=20, endMs=50, limit=2)] == ["2", "3", "4", "5"]
    assert len(pages(server, EXPORT)) == 10


def test_lines_that_cannot_be_kept_are_refused_alone(server, sender):
    """Their neighbours stay, and the sender hears why."""
    answer = sender.send(line("a"), line("b", "loud"), LogLine(2**63, "info", "c"), line("d")).json()

    assert [(bad["seq"], bad["code"]) for bad in answer["rejected"]] == [(2, "INVALID_RECORD"), (3, "INVALID_RECORD")]
    assert "is no level" in answer["rejected"][0]["reason"]
    assert messages(ask(server, order="asc")) == ["a", "d"]


def test_long_lines_and_controls(server, sender):
    """Beyond 8 KiB a line is cut; of control characters colours, tabs and line breaks stay."""
    sender.send(line("é" * 9000), line("a\x1b[31mb\tc\nd\x00\x07\x9b"))

    cut, odd = ask(server, order="asc")["rows"]

    assert (len(cut["message"].encode()), cut["truncated"]) == (8192, True)
    assert odd["message"] == "a\x1b[31mb\tc\nd\ufffd\ufffd\ufffd"


def test_sent_twice_is_there_once(server, sender):
    """As every record."""
    sender.send(line("a"), line("b"))
    sender.send(line("a"), line("b"), line("c"), first=1)

    assert messages(ask(server, order="asc")) == ["a", "b", "c"]


def test_what_one_may_not_see_does_not_exist(server, sender):
    """Another workspace's key, another project, another run: the same 404."""
    sender.send(line("secret"))
    workspace = server.store.accounts.verify(server.key).workspace_id
    _, writer = server.store.accounts.create_key(workspace, scopes=["metrics:write"], label="writer")

    for path in (QUERY, EXPORT):
        assert server.post(path, json={"runId": "run_b"}).status_code == 404
        assert server.post(path, json={"runId": "run_a", "projectId": "default-project"}).status_code == 404
        assert server.post(path, json={"runId": "run_a", "projectId": "digits"}).status_code == 200
        assert server.post(path, json={"runId": "run_a"}, key=writer).status_code == 403


@pytest.mark.parametrize(
    "body", [{"cursor": "x"}, {"cursor": "-1"}, {"minLevel": "loud"}, {"limit": 0}, {"order": "up"}, {"nope": 1}]
)
def test_a_wrong_question_is_a_400(server, sender, body):
    """The answer says what is wrong."""
    assert server.post(QUERY, json={"runId": "run_a", **body}).status_code == 400


def test_lines_of_two_runs_keep_apart(server, send_to):
    """Each run counts its own."""
    for name in ("run_a", "run_b"):
        sender = send_to(name)
        sender.start()
        sender.send(line(name))

    assert [(row["sequence"], row["message"]) for row in ask(server)["rows"]] == [(1, "run_a")]


def test_the_live_stream_says_that_there_is_more(server, sender):
    """The page then asks for the tail."""
    url = f"{server.url}/api/v1/stream?runId=run_a"
    import requests

    with requests.get(url, headers={"authorization": f"Bearer {server.key}"}, stream=True, timeout=10) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        next(lines)
        sender.send(line("hello"))
        deadline = time.monotonic() + 10
        for text in lines:
            if text == "event: more":
                assert next(lines) == 'data: {"runId":"run_a","kinds":["logs"]}'
                break
            assert time.monotonic() < deadline
