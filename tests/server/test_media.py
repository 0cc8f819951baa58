"""Media over HTTP: uploads that become items, their list, and content that a browser may have."""

from __future__ import annotations

import json

import pytest
import requests

from tests.server.uploader import entry, finalize, initiate, put_missing, sha256, upload

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def run(send_to):
    send_to("run_a").start()
    return "run_a"


def log(server, run, content, key="samples", step=0, kind="image", content_type=None, **more):
    """Upload one item; its document."""
    file = entry("item", content) | ({"contentType": content_type} if content_type else {})
    media = {"key": key, "step": step, "mediaType": kind} | more
    begun = initiate(server, run, {}, name="media", files=[file], media=media)
    put_missing(begun, {"item": content})
    answer = finalize(server, run, begun)
    assert answer.status_code == 200, answer.text
    return answer.json()


def items(server, run, query=""):
    return server.get(f"/api/v1/runs/{run}/media{query}").json()["items"]


def test_what_is_logged_is_listed_and_served(server, run):
    """Every field comes back, and the content from the address in the list, with key or session only."""
    fields = {
        "timeMs": 1_700_000_000_000, "index": 3, "caption": "a cat ✓", "width": 4, "height": 5,
        "tableRows": None, "tableColumns": None, "metadata": {"boxes": [1, 2]},
    }  # fmt: skip
    answer = log(server, run, PNG, step=7, content_type="image/png", **fields)

    (item,) = items(server, run)
    expected = {"key": "samples", "step": 7, "mediaType": "image", "sha256": sha256(PNG), "sizeBytes": len(PNG)}
    assert {name: item[name] for name in (expected | fields)} == expected | fields
    assert answer["artifact"] == {"artifactId": item["mediaId"], "version": 1}
    assert answer["media"]["url"] == item["url"]
    content = server.get(item["url"])
    assert (content.content, content.headers["content-type"]) == (PNG, "image/png")
    assert content.headers["x-content-type-options"] == "nosniff"
    assert server.get(item["url"], key="").status_code == 401
    assert server.get(item["url"], headers={"range": "bytes=1-3"}).content == b"PNG"


def test_media_are_no_artifacts(server, run):
    """They have no versions and do not stand among a run's artifacts."""
    log(server, run, PNG)

    assert server.get(f"/api/v1/runs/{run}/artifacts").json()["artifacts"] == []


def test_the_latest_of_a_step_counts(server, run):
    """By the time at which it was logged, whichever upload is quicker; other indexes stay."""
    log(server, run, b"new", step=1, timeMs=2000)
    log(server, run, b"old", step=1, timeMs=1000)
    log(server, run, b"other", step=1, timeMs=1000, index=1)

    assert [(it["index"], it["sha256"]) for it in items(server, run)] == [(0, sha256(b"new")), (1, sha256(b"other"))]


def test_the_list_has_keys_and_pages(server, run):
    """By key, step and index, in pages of whatever size; one key alone on demand."""
    for step in (20, 3, 100):
        log(server, run, PNG, key="b", step=step)
    log(server, run, b"{}", key="a", step=1, kind="table")

    found = server.get(f"/api/v1/runs/{run}/media").json()
    assert found["keys"] == [
        {"key": "a", "mediaType": "table", "count": 1, "firstStep": 1, "lastStep": 1},
        {"key": "b", "mediaType": "image", "count": 3, "firstStep": 3, "lastStep": 100},
    ]
    seen, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/api/v1/runs/{run}/media?limit=1{cursor}").json()
        seen += [(it["key"], it["step"]) for it in page["items"]]
        cursor = page["page"]["nextCursor"] and f"&cursor={page['page']['nextCursor']}"
    assert seen == [("a", 1), ("b", 3), ("b", 20), ("b", 100)]
    assert [it["step"] for it in items(server, run, "?key=b")] == [3, 20, 100]
    assert server.get(f"/api/v1/runs/{run}/media?cursor=x").status_code == 400


@pytest.mark.parametrize(
    ("kind", "sent", "served", "attached", "policy"),
    [
        ("image", "image/jpeg", "image/jpeg", False, "sandbox"),
        ("table", None, "application/json", False, "sandbox"),
        ("text", "text/plain; charset=utf-8", "text/plain; charset=utf-8", False, "sandbox"),
        ("html", "text/html", "text/html; charset=utf-8", False, "frame-ancestors 'self'"),
        ("image", "image/svg+xml", "image/svg+xml", False, "frame-ancestors 'self'"),
        ("file", "application/pdf", "application/octet-stream", True, "sandbox"),
        ("file", "application/javascript", "application/octet-stream", True, "sandbox"),
        ("image", "text/html\r\nx: y", "application/octet-stream", True, "sandbox"),
        ("object3d", None, "application/octet-stream", True, "sandbox"),
    ],
)
def test_a_browser_gets_only_what_it_may_show(server, run, kind, sent, served, attached, policy):
    """Types come from a list; what could run is an origin of its own without any right; the rest is to be saved."""
    log(server, run, b"<script>alert(1)</script>", kind=kind, content_type=sent)

    answer = server.get(items(server, run)[0]["url"])

    assert answer.headers["content-type"] == served
    assert answer.headers.get("content-disposition", "").startswith("attachment") == attached
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert policy in answer.headers["content-security-policy"]


def test_a_page_of_a_user_may_be_framed_by_ours_and_kept(server, run):
    """The headers that the guard gives every answer do not stand in the way; the rest of them stays."""
    log(server, run, b"<p>hello</p>", kind="html", content_type="text/html")

    headers = server.get(items(server, run)[0]["url"]).headers

    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["content-security-policy"].count("default-src") == 1
    assert headers["cache-control"] == "private, max-age=31536000, immutable"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_older_wire_makes_media_of_artifacts(server, run):
    """An image is uploaded as an artifact first; then it is noted as media, with whatever the client sends."""
    artifact = upload(server, run, {"img.png": PNG}, name="samples", artifactType="media_image")["artifact"]
    item = {
        "projectId": "digits", "runId": run, "mediaKey": "samples", "mediaType": "image", "step": 3,
        "timestampMs": 1_700_000_000_000, "artifactPath": "img.png", "caption": None, "width": 2, "height": 2,
        "tableRows": None, "tableColumns": None, "metadata": {"loss": float("nan")},
        "artifactId": artifact["artifactId"], "artifactVersion": 1, "artifactSha256": artifact["sha256"],
    }  # fmt: skip

    def ingest(**changes):
        body = json.dumps({"projectId": "digits", "runId": run, "items": [item | changes]})
        return server.post("/api/v1/ingest/media", data=body, headers={"content-type": "application/json"})

    assert ingest().json() == {"accepted": 1}
    assert ingest().json() == {"accepted": 1}
    assert [(it["step"], it["sha256"], it["metadata"]) for it in items(server, run)] == [
        (3, sha256(PNG), {"loss": None})
    ]
    assert server.get(items(server, run)[0]["url"]).content == PNG
    assert ingest(artifactSha256=sha256(PNG)).status_code == 200
    assert ingest(artifactSha256="0" * 64).status_code == 409
    assert ingest(artifactPath="other").status_code == 404
    assert ingest(artifactId="art_none").status_code == 404
    assert ingest(step=2**70).status_code == 400
    assert ingest(mediaType="nonsense").status_code == 400


def test_the_live_stream_hears_of_media(server, run):
    """So that an open page fetches them."""
    heard = []
    server.store.subscribe(lambda change: heard.append(set(change.kinds)))

    log(server, run, PNG)

    assert heard == [{"media"}]


def test_content_that_is_gone_is_not_found(server, run):
    """Somebody removed the file by hand: an answer all the same."""
    log(server, run, PNG)
    server.store.blobs.path(sha256(PNG)).unlink()

    assert server.get(items(server, run)[0]["url"]).status_code == 404


def test_three_hundred_images_in_a_row(server, run):
    """All are there, by step."""
    session = requests.Session()
    session.headers["authorization"] = f"Bearer {server.key}"
    for step in range(300):
        content = PNG + step.to_bytes(2)
        media = {"key": "k", "step": step, "mediaType": "image"}
        body = {"runId": run, "name": "m", "files": [entry("a", content)], "media": media}
        begun = session.post(server.url + "/api/v1/artifacts/initiate", json=body).json()
        assert requests.put(begun["files"][0]["url"], data=content, timeout=20).ok
        ids = {"runId": run, "artifactId": begun["artifactId"], "uploadId": begun["uploadId"]}
        assert session.post(server.url + "/api/v1/artifacts/finalize", json=ids).ok
    session.close()

    assert [it["step"] for it in items(server, run, "?limit=1000")] == list(range(300))


# -- of many runs ----------------------------------------------------------------------------------------------------


def of_runs(server, *runs, **asked):
    return server.post("/api/v1/query/media", json={"runIds": list(runs), **asked})


def test_one_key_of_many_runs_at_a_step(server, run, send_to):
    """Each run's newest items up to the step, or its first; all steps there are; runs without the key are left out."""
    send_to("run_b").start()
    send_to("run_c").start()
    for step in (0, 10, 20):
        log(server, run, PNG + bytes([step]), step=step)
    for index in range(3):
        log(server, "run_b", PNG + bytes([100 + index]), step=15, index=index)
    log(server, "run_c", b"1", key="notes", kind="text")

    keys = of_runs(server, run, "run_b", "run_c").json()["keys"]
    newest = of_runs(server, run, "run_b", "run_c", key="samples", limit=2).json()
    earlier = of_runs(server, run, "run_b", key="samples", step=12).json()

    assert [(one["key"], one["mediaType"], one["count"], one["runs"]) for one in keys] == [
        ("notes", "text", 1, 1),
        ("samples", "image", 6, 2),
    ]
    assert (keys[1]["firstStep"], keys[1]["lastStep"]) == (0, 20)
    assert newest["steps"] == [0, 10, 15, 20]
    assert {of: (one["step"], one["count"]) for of, one in newest["runs"].items()} == {run: (20, 1), "run_b": (15, 3)}
    assert [item["index"] for item in newest["runs"]["run_b"]["items"]] == [0, 1]
    assert newest["runs"][run]["items"] == items(server, run, "?key=samples")[2:]
    assert {of: one["step"] for of, one in earlier["runs"].items()} == {run: 10, "run_b": 15}


def test_media_of_runs_that_may_not_be_seen(server, run):
    """One that does not exist makes it 404; nonsense is 400."""
    assert of_runs(server, run, "run_none").status_code == 404
    assert of_runs(server, run, "run_none", key="samples").status_code == 404
    assert of_runs(server).status_code == 400
    assert of_runs(server, run, step="now").status_code == 400
