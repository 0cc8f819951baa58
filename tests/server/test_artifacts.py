"""Artifacts over HTTP: uploads, versions, aliases, lineage, retention, downloads, and who may do what."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from rundial.server.store import manifest
from tests.server.uploader import download, entry, finalize, initiate, put, put_missing, sha256, upload


@pytest.fixture
def run(send_to):
    """The id of a run in the project ``digits``."""
    send_to("run_a").start()
    return "run_a"


@pytest.fixture
def small_parts(monkeypatch):
    """Files above 100 KB come in parts of 64 KB."""
    monkeypatch.setattr(manifest, "SINGLE_BYTES", 100_000)
    monkeypatch.setattr(manifest, "PART_BYTES", 65_536)
    monkeypatch.setattr(manifest, "part_bytes", lambda size: 65_536)
    monkeypatch.setattr("rundial.server.store.uploads.part_bytes", lambda size: 65_536)


def make_key(server, *scopes, project=None):
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    return accounts.create_key(workspace, scopes=scopes, label="test", project_id=project)[1]


def project_of(server, run):
    return server.get(f"/api/v1/runs/{run}").json()["projectId"]


def of_run(server, run):
    return server.get(f"/api/v1/runs/{run}/artifacts").json()["artifacts"]


# -- uploading and downloading -------------------------------------------------------------------------------------


def test_what_is_uploaded_is_what_is_downloaded(server, run):
    """Several files, an empty one and a name beyond ASCII among them, byte for byte."""
    files = {"model.bin": bytes(range(256)) * 1000, "sub/größe ✓.txt": "äöü".encode(), "empty": b""}

    artifact = upload(server, run, files, artifactType="model", metadata={"acc": 0.9}, step=7, aliases=["best"])[
        "artifact"
    ]

    assert (artifact["name"], artifact["version"], artifact["type"], artifact["step"]) == ("weights", 1, "model", 7)
    assert artifact["aliases"] == ["best", "latest"]
    assert artifact["sizeBytes"] == sum(map(len, files.values()))
    assert {path: download(server, artifact["artifactId"], path).content for path in files} == files
    found = server.get(f"/api/v1/artifacts/{artifact['artifactId']}").json()
    assert [file["path"] for file in found["files"]] == sorted(files)
    assert found["metadata"] == {"acc": 0.9}


def test_a_download_is_an_attachment_and_understands_range(server, run):
    """The browser saves it and never shows it, whatever it is."""
    artifact = upload(server, run, {"evil.html": b"<script>alert(1)</script>"})["artifact"]

    whole = download(server, artifact["artifactId"], "evil.html")
    part = download(server, artifact["artifactId"], "evil.html", range="bytes=1-6")

    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in whole.headers["content-security-policy"]
    assert (part.status_code, part.content) == (206, b"script")


def test_known_content_is_not_asked_for_again(server, run):
    """By SHA-256, under whatever path and name; twice the same content in one upload is put once."""
    upload(server, run, {"a": b"known", "b": b"other"})

    begun = initiate(server, run, {"c": b"known", "d": b"new", "e": b"new"}, name="another")

    assert [file["path"] for file in begun["files"]] == ["d"]
    assert finalize(server, run, begun).status_code == 409
    put_missing(begun, {"d": b"new"})
    artifact = finalize(server, run, begun).json()["artifact"]
    assert download(server, artifact["artifactId"], "e").content == b"new"


def test_known_content_of_another_workspace_is_asked_for(server, run):
    """A digest alone gives nobody the file: each workspace has to bring it."""
    upload(server, run, {"a": b"secret"})

    with server.store._engine.read() as db:
        rows = db.execute("SELECT workspace_id, sha256 FROM blobs").fetchall()
    workspace = server.store.accounts.verify(server.key).workspace_id
    assert rows == [(workspace, sha256(b"secret"))]


def test_the_same_files_again_are_no_new_version(server, run):
    """But aliases move and metadata is added; other files, or another type, are a new version."""
    first = upload(server, run, {"a": b"1"}, metadata={"x": 1})
    again = upload(server, run, {"a": b"1"}, metadata={"y": 2}, aliases=["prod"])
    other = upload(server, run, {"a": b"2"})
    back = upload(server, run, {"a": b"1"})

    assert (first["deduped"], again["deduped"], other["deduped"], back["deduped"]) == (False, True, False, False)
    assert again["artifact"]["artifactId"] == first["artifact"]["artifactId"]
    assert again["artifact"]["aliases"] == ["latest", "prod"]
    found = server.get(f"/api/v1/artifacts/{first['artifact']['artifactId']}").json()
    assert (found["metadata"], found["aliases"]) == ({"x": 1, "y": 2}, ["prod"])
    assert [it["version"] for it in of_run(server, run)] == [3, 2, 1]


def test_a_large_file_comes_in_parts(server, run, small_parts):
    """In whatever order, and only what is missing is asked for when the upload is begun again."""
    content = bytes(range(251)) * 1000
    begun = initiate(server, run, {"big": content}, uploadKey="job-1")
    (file,) = begun["files"]
    assert [part["offsetBytes"] for part in file["parts"]] == [0, 65536, 131072, 196608]
    for part in (file["parts"][3], file["parts"][1]):
        begin = part["offsetBytes"]
        answer = put(part["url"], content[begin : begin + part["sizeBytes"]])
        assert answer.headers["ETag"] == f'"{sha256(content[begin : begin + part["sizeBytes"]])}"'
    assert finalize(server, run, begun).status_code == 409

    again = initiate(server, run, {"big": content}, uploadKey="job-1")

    assert (again["uploadId"], again["artifactId"]) == (begun["uploadId"], begun["artifactId"])
    assert [part["partNumber"] for part in again["files"][0]["parts"]] == [1, 3]
    parts = put_missing(again, {"big": content})
    assert initiate(server, run, {"big": content}, uploadKey="job-1")["files"] == []
    artifact = finalize(server, run, again, multipartParts=parts).json()["artifact"]
    assert download(server, artifact["artifactId"], "big").content == content


def test_a_part_that_came_once_is_not_written_again(server, run, small_parts):
    """Not even with other bytes: it is answered with what is there."""
    content = b"a" * 150_000
    begun = initiate(server, run, {"big": content})
    part = begun["files"][0]["parts"][0]
    first = put(part["url"], content[:65536])

    second = put(part["url"], b"b" * 65536)

    assert (second.status_code, second.headers["ETag"]) == (200, first.headers["ETag"])
    put_missing(begun, {"big": content})
    assert finalize(server, run, begun).status_code == 200


def test_parts_that_make_another_file_are_refused_and_asked_for_again(server, run, small_parts):
    """What was announced is what becomes a version, or nothing does."""
    content = b"a" * 150_000
    begun = initiate(server, run, {"big": content}, uploadKey="k")
    put_missing(begun, {"big": b"b" * 150_000})

    refused = finalize(server, run, begun)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    assert of_run(server, run) == []
    again = initiate(server, run, {"big": content}, uploadKey="k")
    assert len(again["files"][0]["parts"]) == 3
    put_missing(again, {"big": content})
    assert finalize(server, run, again).status_code == 200


@pytest.mark.parametrize("strange", [[(1, '"00"')], [(1, None), (1, None)], [(9, '"00"')]])
def test_strange_parts_in_the_finalization_are_refused(server, run, small_parts, strange):
    """Another ETag, a number twice, a number that never was."""
    begun = initiate(server, run, {"big": b"a" * 150_000})
    put_missing(begun, {"big": b"a" * 150_000})
    parts = [{"partNumber": number} | ({"etag": etag} if etag else {}) for number, etag in strange]

    assert finalize(server, run, begun, multipartParts=[{"path": "big", "parts": parts}]).status_code == 409
    assert finalize(server, run, begun).status_code == 200


@pytest.mark.parametrize("body", [b"othe", b"shor", b"", b"much longer than it should be"])
def test_another_body_than_was_announced_is_refused(server, run, body):
    """Wrong bytes and wrong lengths leave nothing behind."""
    begun = initiate(server, run, {"a": b"real" if len(body) == 4 else b"12345"})

    answer = put(begun["files"][0]["url"], body)

    assert answer.status_code in (400, 403)
    assert answer.json()["error"]["details"]["hint"]
    assert finalize(server, run, begun).status_code == 409
    assert list(server.store.blobs.all()) == []


def test_right_hash_and_wrong_size_never_becomes_a_version(server, run):
    """Also when the content itself is known already."""
    upload(server, run, {"a": b"12345"})
    wrong = entry("a", b"12345") | {"sizeBytes": 4}
    begun = initiate(server, run, {}, files=[wrong])

    assert [put(file["url"], b"1234").status_code for file in begun["files"]] == [400]
    assert finalize(server, run, begun).status_code == 409


def test_finalizing_again_answers_the_same(server, run):
    """A client that missed the answer asks again, and initiates again; nothing happens twice."""
    begun = initiate(server, run, {"a": b"1"}, uploadKey="k")
    put_missing(begun, {"a": b"1"})

    first, second = finalize(server, run, begun), finalize(server, run, begun)

    assert first.json() == second.json()
    assert initiate(server, run, {"a": b"1"}, uploadKey="k") == begun | {"files": []}
    assert len(of_run(server, run)) == 1
    assert put(begun["files"][0]["url"], b"1").status_code == 409


def test_an_upload_key_belongs_to_its_files(server, run):
    """The same key with other files is a mistake, not a continuation."""
    initiate(server, run, {"a": b"1"}, uploadKey="k")
    body = {"runId": run, "name": "weights", "files": [entry("a", b"2")], "uploadKey": "k"}

    assert server.post("/api/v1/artifacts/initiate", json=body).status_code == 409


def test_identical_uploads_at_the_same_time_are_harmless(server, run, small_parts):
    """Each of twelve becomes a version or finds that it is one; versions are dense and content is there once."""
    files = {"small": b"s" * 1000, "big": b"b" * 150_000}
    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda number: upload(server, run, files, name=f"n{number % 2}"), range(12)))

    assert sorted(len(digests) for digests in server.store.blobs.all()) == [1, 1]
    assert sum(not result["deduped"] for result in results) == 2
    assert {result["artifact"]["version"] for result in results} == {1}


def test_versions_finalized_at_the_same_time_are_dense(server, run):
    """No number twice, none left out, and latest is the last."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: upload(server, run, {"a": str(number).encode()}), range(24)))

    found = of_run(server, run)
    assert sorted(it["version"] for it in found) == list(range(1, 25))
    assert [it["version"] for it in found if "latest" in it["aliases"]] == [24]


def test_references_are_kept_as_text(server, run):
    """They have no content here, are part of what makes a version, and a download says where they lie."""
    reference = {"path": "train.parquet", "uri": "s3://bucket/train.parquet", "sizeBytes": 5, "etag": "x"}
    result = upload(server, run, {}, name="data", references=[reference])

    again = upload(server, run, {}, name="data", references=[reference])
    moved = upload(server, run, {}, name="data", references=[reference | {"etag": "y"}])

    found = server.get(f"/api/v1/artifacts/{result['artifact']['artifactId']}").json()
    assert found["files"] == [reference | {"sha256": None, "contentType": None}]
    assert (again["deduped"], moved["deduped"]) == (True, False)
    body = {"artifactId": result["artifact"]["artifactId"], "path": "train.parquet"}
    refused = server.post("/api/v1/artifacts/download", json=body)
    assert refused.status_code == 409
    assert "s3://bucket/train.parquet" in refused.json()["error"]["details"]["hint"]


def test_not_a_number_in_metadata_is_tolerated(server, run):
    """Clients in the field write NaN, which is no JSON; it becomes null."""
    body = json.dumps({"runId": run, "name": "m", "metadata": {"loss": float("nan")}, "files": [entry("a", b"")]})
    answer = server.post("/api/v1/artifacts/initiate", data=body, headers={"content-type": "application/json"})
    put_missing(answer.json(), {"a": b""})

    artifact = finalize(server, run, answer.json()).json()["artifact"]
    assert server.get(f"/api/v1/artifacts/{artifact['artifactId']}").json()["metadata"] == {"loss": None}


# -- hostile requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../../../../etc/passwd", "..", "a/../b", "/etc/passwd", "//etc", "C:\\x", "C:/x", "\\\\host\\share",
        "a\\..\\b", "file:///etc/passwd", "....//x", "./a", "a/", "", "a\x00b", "a\nb", "x" * 1025,
    ],
)  # fmt: skip
def test_paths_that_could_lead_elsewhere_are_refused(server, run, path):
    """At the announcement, before anything is stored; the same for references."""
    for body in (
        {"files": [entry(path, b"")]},
        {"files": [], "references": [{"path": path, "uri": "s3://a"}]},
    ):
        answer = server.post("/api/v1/artifacts/initiate", json={"runId": run, "name": "n"} | body)
        assert answer.status_code == 400, path


@pytest.mark.parametrize("path", ["a#b", "a?b", "a;b=c", "%2e%2e", "..%2f..%2fx", "a b", "…", "-rf", "CON", "😀"])
def test_odd_paths_are_opaque(server, run, path):
    """They are text, never decoded, and come back as they are."""
    artifact = upload(server, run, {path: b"odd"})["artifact"]

    assert download(server, artifact["artifactId"], path).content == b"odd"


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": [entry("a", b"1"), entry("a", b"2")]},
        {"files": [entry("a", b"1") | {"sha256": "A" * 64}]},
        {"files": [entry("a", b"1") | {"sha256": "../../../../etc/passwd"}]},
        {"files": [entry("a", b"1") | {"sizeBytes": -1}]},
        {"files": [entry("a", b"1") | {"sizeBytes": 2**63}]},
        {"files": [entry("a", b"1") | {"sizeBytes": True}]},
        {"files": [entry("a", b"1"), entry("b", b"1") | {"sizeBytes": 2}]},
        {"name": ""},
        {"name": "a\x00"},
        {"name": "x" * 5000},
        {"step": 2**70},
        {"references": [{"path": "b", "uri": ""}]},
        {"aliases": ["a"] * 101},
        {"media": {"key": "k", "step": 0, "mediaType": "nonsense"}},
        {"media": {"key": "k", "step": 0, "mediaType": "image"}, "files": [entry("a", b""), entry("b", b"")]},
    ],
)
def test_nonsense_is_refused(server, run, change):
    """With a 400 that says what to do."""
    body = {"runId": run, "name": "n", "files": [entry("a", b"1")]} | change
    answer = server.post("/api/v1/artifacts/initiate", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["hint"]


@pytest.mark.parametrize("body", ["{", "[" * 200_000, '{"runId": 1e999}', "nul", '{"runId": "\\ud800", "name": "n"}'])
def test_what_is_no_json_is_refused(server, run, body):
    """Nothing makes the server fail."""
    headers = {"content-type": "application/json"}

    assert server.post("/api/v1/artifacts/initiate", data=body, headers=headers).status_code == 400


def test_a_hundred_thousand_files_and_one_more(server, run):
    """As many as are allowed are taken within the client's patience; one more is refused."""
    files = [entry("a", b"") | {"path": f"images/{number:06}.png"} for number in range(100_000)]

    begun = initiate(server, run, {}, files=files)
    refused = server.post(
        "/api/v1/artifacts/initiate", json={"runId": run, "name": "n", "files": [*files, entry("b", b"")]}
    )

    assert [file["path"] for file in begun["files"]] == ["images/000000.png"]
    assert put(begun["files"][0]["url"], b"").status_code == 200
    assert finalize(server, run, begun).json()["artifact"]["fileCount"] == 100_000
    assert refused.status_code == 400


def test_a_changed_address_is_refused(server, run):
    """Every bit of it is signed: path, method, parameters, their number, and the length of the body."""
    begun = initiate(server, run, {"a": b"12345"})
    url = begun["files"][0]["url"]
    address, _, query = url.partition("?")
    names = dict(pair.split("=") for pair in query.split("&"))
    flipped = names["signature"][:-1] + ("0" if names["signature"][-1] != "0" else "1")
    changed = [
        url.replace(names["signature"], flipped),
        url + "&more=1",
        url + "&size=5",
        url.replace("size=5", "size=6"),
        url.replace("expires=", "expires=9"),
        url.replace("part=0", "part=1"),
        url.replace("by=", "by=x"),
        url.replace(begun["uploadId"], "upl_other"),
        url.replace(sha256(b"12345"), sha256(b"other")),
        address,
        f"{address}?signature={names['signature']}",
        f"{address}?signature=%ff",
    ]

    assert [put(other, b"12345").status_code for other in changed] == [403] * len(changed)
    assert requests.get(url, timeout=20).status_code == 403
    assert put(url, b"123456").status_code == 403
    assert put(url, b"12345").status_code == 200


def test_an_address_expires(server, run, monkeypatch):
    """And says so; a new one is had by initiating again."""
    monkeypatch.setattr("rundial.server.store.uploads.PUT_SECONDS", -1)
    begun = initiate(server, run, {"a": b"1"}, uploadKey="k")

    answer = put(begun["files"][0]["url"], b"1")

    assert (answer.status_code, answer.json()["error"]["message"]) == (403, "This address has expired.")


def test_an_address_dies_with_its_key(server, run):
    """What a revoked key asked for is refused, for writing and for reading."""
    accounts = server.store.accounts
    workspace = accounts.verify(server.key).workspace_id
    key_id, key = accounts.create_key(workspace, scopes=["artifacts:write"], label="laptop")
    artifact = upload(server, run, {"a": b"1"})["artifact"]
    body = {"artifactId": artifact["artifactId"], "path": "a"}
    get_url = server.post("/api/v1/artifacts/download", key=key, json=body).json()["url"]
    put_url = initiate(server, run, {"b": b"2"}, key)["files"][0]["url"]
    assert requests.get(get_url, timeout=20).status_code == 200

    accounts.revoke_key(key_id)

    assert requests.get(get_url, timeout=20).status_code == 403
    assert put(put_url, b"2").status_code == 403


def test_an_address_dies_with_its_artifact(server, run):
    """Also while the content is still there for others."""
    artifact = upload(server, run, {"a": b"1"})["artifact"]
    upload(server, run, {"a": b"1"}, name="other")
    body = {"artifactId": artifact["artifactId"], "path": "a"}
    url = server.post("/api/v1/artifacts/download", json=body).json()["url"]

    assert server.call("DELETE", f"/api/v1/artifacts/{artifact['artifactId']}").status_code == 200

    assert requests.get(url, timeout=20).status_code == 403


# -- versions ------------------------------------------------------------------------------------------------------


def test_references_by_name_alias_and_version(server, run):
    """Each way to name a version, and what is not there."""
    first = upload(server, run, {"a": b"1"}, aliases=["best"])["artifact"]["artifactId"]
    second = upload(server, run, {"a": b"2"})["artifact"]["artifactId"]

    def use(reference):
        answer = server.post("/api/v1/artifacts/use", json={"runId": run, "artifactRef": reference})
        return answer.json()["artifact"]["artifactId"] if answer.ok else answer.status_code

    assert [use(ref) for ref in ("weights", "weights:latest", "weights:v2")] == [second] * 3
    assert [use(ref) for ref in ("weights:best", "weights:v1", "digits/weights:best", first)] == [first] * 4
    assert [use(ref) for ref in ("weights:v3", "weights:none", "none", "none/weights", "", ":", "art_x")] == [404] * 7


def test_aliases_move_and_latest_stays_the_newest(server, run):
    """An alias is at one version at a time; latest cannot be given or taken."""
    first, second = (upload(server, run, {"a": content})["artifact"]["artifactId"] for content in (b"1", b"2"))

    def change(artifact_id, **body):
        return server.post(f"/api/v1/artifacts/{artifact_id}/aliases", json=body)

    assert change(first, add=["prod", "a:b"]).json()["aliases"] == ["a-b", "prod"]
    assert change(second, add=["prod"]).json()["aliases"] == ["latest", "prod"]
    assert change(first, remove=["prod", "a-b"]).json()["aliases"] == []
    assert change(second, remove=["prod"]).json()["aliases"] == ["latest"]
    assert change(first, add=["latest"]).status_code == 400
    assert change("art_none", add=["x"]).status_code == 404


def test_uploads_that_overtake_each_other_do_not_move_aliases_back(server, run, send_to):
    """What a run logged last is its latest and is kept, however uploads end; another run's clock does not matter."""
    send_to("run_b").start()

    def log(run_id, time_ms):
        policy = {"strategy": "keep_last", "keepLast": 2}
        content = {"a": str(time_ms).encode()}
        upload(server, run_id, content, timeMs=time_ms, aliases=["best"], retentionPolicy=policy)
        found = server.get("/api/v1/projects/digits/artifacts").json()["artifacts"]
        return [(it["createdAtMs"], it["aliases"]) for it in found]

    both = ["best", "latest"]
    assert log(run, 2000) == [(2000, both)]
    assert log(run, 1000) == [(2000, both), (1000, [])]
    assert log(run, 3000) == [(3000, both), (2000, [])]
    assert log(run, 1500) == [(3000, both), (2000, [])]
    assert log("run_b", 500) == [(3000, []), (2000, []), (500, both)]


def test_deleting_the_newest_moves_latest_back(server, run):
    """And its number is not used again."""
    first, second = (upload(server, run, {"a": content})["artifact"]["artifactId"] for content in (b"1", b"2"))

    assert server.call("DELETE", f"/api/v1/artifacts/{second}").json()["version"] == 2

    assert server.get(f"/api/v1/artifacts/{first}").json()["aliases"] == ["latest"]
    assert server.get(f"/api/v1/artifacts/{second}").status_code == 404
    assert upload(server, run, {"a": b"3"})["artifact"]["version"] == 3


def test_lineage_goes_both_ways(server, run, send_to):
    """Who made a version, who uses it, and what a run made and uses."""
    send_to("run_b").start()
    artifact_id = upload(server, run, {"a": b"1"})["artifact"]["artifactId"]

    used = server.post("/api/v1/artifacts/use", json={"runId": "run_b", "artifactRef": "weights"}).json()["artifact"]

    assert (used["runId"], used["files"][0]["path"], used["files"][0]["sha256"]) == (run, "a", sha256(b"1"))
    found = server.get(f"/api/v1/artifacts/{artifact_id}").json()
    assert [it["runId"] for it in found["madeBy"]] == [run]
    assert [it["runId"] for it in found["usedBy"]] == ["run_b"]
    assert [(it["artifactId"], it["role"]) for it in of_run(server, "run_b")] == [(artifact_id, "used")]
    assert [(it["artifactId"], it["role"]) for it in of_run(server, run)] == [(artifact_id, "made")]


def test_a_run_that_logs_what_is_there_already_has_it_too(server, run, send_to):
    """Nobody's artifact vanishes because somebody was first."""
    send_to("run_b").start()
    upload(server, run, {"a": b"1"})

    again = upload(server, "run_b", {"a": b"1"})

    assert again["deduped"]
    assert [it["role"] for it in of_run(server, "run_b")] == ["made"]


def test_keep_last_removes_the_oldest_of_the_run(server, run, send_to):
    """Not what has an alias, what another run uses, or what another run made."""
    send_to("run_b").start()
    upload(server, "run_b", {"a": b"of b"})
    for number in range(6):
        upload(server, run, {"a": str(number).encode()}, aliases=["best"] if number == 1 else [])
    server.post("/api/v1/artifacts/use", json={"runId": "run_b", "artifactRef": "weights:v4"})

    upload(server, run, {"a": b"last"}, retentionPolicy={"strategy": "keep_last", "keepLast": 2})

    found = server.get("/api/v1/projects/digits/artifacts?name=weights").json()["artifacts"]
    kept = {1: "of run_b", 3: "has an alias", 4: "used by run_b", 7: "newest", 8: "newest"}
    assert [it["version"] for it in found] == sorted(kept, reverse=True)


@pytest.mark.parametrize(
    ("policy", "kept"),
    [(None, 5), ({"strategy": "keep_last", "keepLast": 7}, 7), ({"strategy": "keep_all"}, 9), ({"keepLast": "x"}, 9)],
)
def test_checkpoints_are_kept_five_deep(server, run, policy, kept):
    """Unless the client says otherwise; a policy nobody knows keeps everything."""
    more = {} if policy is None else {"retentionPolicy": policy}
    for number in range(9):
        upload(server, run, {"a": str(number).encode()}, artifactType="checkpoint", **more)

    assert [it["version"] for it in of_run(server, run)] == list(range(9, 9 - kept, -1))


def test_lists_come_in_pages(server, run):
    """Of a run, of a project by name and type, and of a version's files."""
    for number in range(5):
        upload(
            server, run, {f"f{at}": bytes([number]) for at in range(3)}, artifactType="odd" if number % 2 else "even"
        )

    def pages(path):
        seen, cursor = [], ""
        while cursor is not None:
            page = server.get(f"{path}{'&' if '?' in path else '?'}limit=2{cursor}").json()
            seen.append(page.get("artifacts") or page["files"])
            following = page["page"]["nextCursor"]
            cursor = None if following is None else f"&cursor={following}"
        return seen

    for path in (f"/api/v1/runs/{run}/artifacts", "/api/v1/projects/digits/artifacts"):
        assert [[it["version"] for it in page] for page in pages(path)] == [[5, 4], [3, 2], [1]]
    odd = pages("/api/v1/projects/digits/artifacts?name=weights&type=odd")
    assert [[it["version"] for it in page] for page in odd] == [[4, 2]]
    artifact_id = of_run(server, run)[0]["artifactId"]
    assert [len(page) for page in pages(f"/api/v1/artifacts/{artifact_id}")] == [2, 1]
    assert server.get(f"/api/v1/runs/{run}/artifacts?cursor=nonsense").status_code == 400


def test_the_live_stream_hears_of_it(server, run):
    """Each finalized upload, each change of aliases, each removal."""
    heard, arrived = [], threading.Event()
    server.store.subscribe(lambda change: (heard.append((change.run_id, set(change.kinds))), arrived.set()))

    artifact_id = upload(server, run, {"a": b"1"})["artifact"]["artifactId"]
    server.post(f"/api/v1/artifacts/{artifact_id}/aliases", json={"add": ["x"]})
    server.call("DELETE", f"/api/v1/artifacts/{artifact_id}")

    assert heard == [(run, {"artifacts"})] * 3


# -- who may do what -----------------------------------------------------------------------------------------------


def test_scopes(server, run):
    """A key that writes metrics may upload; to read takes a reader; neither may remove."""
    artifact_id = upload(server, run, {"a": b"1"})["artifact"]["artifactId"]
    metrics, reader, writer = (make_key(server, it) for it in ("metrics:write", "project:read", "artifacts:write"))
    body = {"runId": run, "name": "n", "files": [entry("a", b"1")]}

    def statuses(key):
        call = server.call
        return [
            call("POST", "/api/v1/artifacts/initiate", key, json=body).status_code,
            call("POST", "/api/v1/artifacts/use", key, json={"runId": run, "artifactRef": "weights"}).status_code,
            call("POST", "/api/v1/artifacts/download", key, json={"artifactId": artifact_id, "path": "a"}).status_code,
            call("GET", f"/api/v1/artifacts/{artifact_id}", key).status_code,
            call("POST", f"/api/v1/artifacts/{artifact_id}/aliases", key, json={}).status_code,
            call("DELETE", "/api/v1/artifacts/art_none", key).status_code,
        ]

    assert statuses(metrics) == [200, 403, 403, 403, 403, 403]
    assert statuses(reader) == [403, 200, 200, 200, 403, 403]
    assert statuses(writer) == [200, 200, 200, 403, 200, 404]


def test_another_project_looks_as_if_it_did_not_exist(server, run, send_to):
    """On every route, for a key of one project; with a run that is there and with one that is not."""
    send_to("run_mine", project="mine").start()
    key = make_key(server, "project:read", "artifacts:write", project=project_of(server, "run_mine"))
    begun = initiate(server, run, {"b": b"2"})
    secret = upload(server, run, {"a": b"1"})["artifact"]["artifactId"]
    upload(server, "run_mine", {"a": b"3"}, key)

    def look(run_id, artifact_id, upload_id):
        ids = {"runId": run_id, "artifactId": artifact_id, "uploadId": upload_id}
        calls = [
            ("POST", "/api/v1/artifacts/initiate", {"runId": run_id, "name": "n", "files": [entry("a", b"")]}),
            ("POST", "/api/v1/artifacts/finalize", ids),
            ("POST", "/api/v1/artifacts/finalize", ids | {"runId": "run_mine"}),
            ("POST", "/api/v1/artifacts/use", {"runId": run_id, "artifactRef": "weights"}),
            ("POST", "/api/v1/artifacts/use", {"runId": "run_mine", "artifactRef": "digits/weights"}),
            ("POST", "/api/v1/artifacts/use", {"runId": "run_mine", "artifactRef": artifact_id}),
            ("POST", "/api/v1/artifacts/download", {"artifactId": artifact_id, "path": "a"}),
            ("GET", f"/api/v1/artifacts/{artifact_id}", None),
            ("DELETE", f"/api/v1/artifacts/{artifact_id}", None),
            ("POST", f"/api/v1/artifacts/{artifact_id}/aliases", {"add": ["x"]}),
            ("GET", f"/api/v1/runs/{run_id}/artifacts", None),
            ("GET", f"/api/v1/runs/{run_id}/media", None),
            ("GET", f"/api/v1/runs/{run_id}/media/{artifact_id}", None),
            ("GET", "/api/v1/projects/digits/artifacts", None),
        ]
        return [server.call(method, path, key, json=body).status_code for method, path, body in calls]

    assert look(run, secret, begun["uploadId"]) == look("run_none", "art_none", "upl_none") == [404] * 14
    assert finalize(server, run, begun | {"artifactId": secret}).status_code == 404


def test_a_project_that_is_not_the_runs_is_refused(server, run):
    """The older client names the project too; it must be right, as id or slug."""
    body = {"runId": run, "name": "n", "files": [entry("a", b"")]}

    def status(project):
        return server.post("/api/v1/artifacts/initiate", json=body | {"projectId": project}).status_code

    assert (status("digits"), status(project_of(server, run)), status("other")) == (200, 200, 404)
