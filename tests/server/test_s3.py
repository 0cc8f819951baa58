"""Artifacts and media in S3: signed addresses of the bucket, nothing forged gets in, nothing stays for ever."""

from __future__ import annotations

import io
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
import requests

from rundial.events import RunStart
from rundial.server.store import Store, manifest, s3, signing
from rundial.server.store.engine import StoreError
from rundial.server.store.purge import UNFINISHED_MILLISECONDS
from rundial.server.store.s3 import Bucket
from rundial.server.store.signing import presign
from tests.server import s3 as doubles
from tests.server.conftest import Sender, serving

# The same stories as on the disk, with the files in S3.
from tests.server.test_artifacts import (  # noqa: F401
    test_an_upload_key_belongs_to_its_files,
    test_known_content_is_not_asked_for_again,
    test_odd_paths_are_opaque,
    test_references_are_kept_as_text,
    test_the_same_files_again_are_no_new_version,
    test_versions_finalized_at_the_same_time_are_dense,
    test_what_is_uploaded_is_what_is_downloaded,
)
from tests.server.test_media import (  # noqa: F401
    PNG,
    items,
    log,
    test_the_latest_of_a_step_counts,
)
from tests.server.uploader import download, entry, finalize, initiate, put, put_missing, sha256, upload

MIB = 2**20
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore|moto|werkzeug")


@pytest.fixture(scope="module")
def bucket():
    """A bucket whose server verifies signatures, expiry, lengths and checksums."""
    yield from doubles.running()


@pytest.fixture(scope="module")
def lasting(bucket, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("s3") / "data", artifacts=f"s3://{doubles.BUCKET}/team/a") as server:
        yield server


@pytest.fixture
def server(lasting, bucket):
    bucket.puts.clear()
    bucket.denied.clear()
    return lasting


@pytest.fixture
def run(server):
    """The id of a run of its own project."""
    run_id = f"run_{secrets.token_hex(4)}"
    Sender(server, run_id, project=run_id.replace("_", "-")).start()
    return run_id


@pytest.fixture
def send_to(server):
    return lambda run_id, **options: Sender(server, run_id, **options)


@pytest.fixture
def small_parts(monkeypatch):
    """Files above 6 MiB come in parts of 5 MiB, the least that S3 takes."""
    monkeypatch.setattr(manifest, "SINGLE_BYTES", 6 * MIB)
    for module in (manifest, s3):
        monkeypatch.setattr(module, "part_bytes", lambda size: 5 * MIB)


def large():
    return secrets.token_bytes(1024) * (11 * 1024)


def remains(bucket, begun):
    """What there is of an upload besides blobs: parts, joined or not."""
    return [key for key in (*bucket.keys("team/a/uploads"), *bucket.unfinished()) if begun["uploadId"] in key]


def in_parts(content):
    """A file that is announced with the SHA-256 of its parts."""
    pieces = [content[begin : begin + 5 * MIB] for begin in range(0, len(content), 5 * MIB)]
    return entry("big", content) | {"partSha256": [sha256(piece) for piece in pieces]}


# -- in and out ----------------------------------------------------------------------------------------------------


def test_bytes_go_straight_to_the_bucket_and_back(server, run, bucket):
    """Addresses are those of the bucket, content lies under its SHA-256 by workspace, and a download has its name."""
    content = secrets.token_bytes(1000)
    artifact = upload(server, run, {"größe.bin": content})["artifact"]

    assert bucket.puts[0].startswith("team/a/blobs/wsp_") and bucket.puts[0].endswith(f"/{sha256(content)}")
    answer = download(server, artifact["artifactId"], "größe.bin", Range="bytes=10-19")
    assert (answer.status_code, answer.content) == (206, content[10:20])
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe.bin" in answer.headers["content-disposition"]
    assert urlsplit(answer.url).netloc == urlsplit(bucket.url).netloc
    assert not bucket.denied


def test_files_are_shown_in_place_and_saved_together(server, run, bucket):
    """One is got from the bucket, with a type only if it is harmless; the archive of all comes through the server."""
    files = {"a.png": secrets.token_bytes(3000), "page.html": b"<script>"}
    artifact = upload(server, run, files)["artifact"]
    base = f"/api/v1/artifacts/{artifact['artifactId']}"

    shown, saved = (server.get(base + "/content", params={"path": path}) for path in files)
    archive = server.get(base + "/archive")

    assert {urlsplit(one.url).netloc for one in (shown, saved)} == {urlsplit(bucket.url).netloc}
    assert (shown.content, shown.headers["content-type"]) == (files["a.png"], "image/png")
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"].startswith("attachment; ")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        assert {one.name: tar.extractfile(one).read() for one in tar} == {
            f"weights-v1/{path}": content for path, content in files.items()
        }
    assert not bucket.denied


@pytest.mark.parametrize("checked", [True, False])
def test_a_large_file_comes_in_parts(server, run, bucket, small_parts, checked):
    """With and without the SHA-256 of each part: only what is missing is asked for, and nothing is left beside it."""
    content = large()
    file = in_parts(content) if checked else entry("big", content)
    begun = initiate(server, run, {}, files=[file], uploadKey="k")
    parts = begun["files"][0]["parts"]
    assert [part["sizeBytes"] for part in parts] == [5 * MIB, 5 * MIB, MIB]
    assert all(("x-amz-checksum-sha256" in part["requiredHeaders"]) == checked for part in parts)
    assert put(parts[1]["url"], content[5 * MIB : 10 * MIB], **parts[1]["requiredHeaders"]).status_code == 200
    assert finalize(server, run, begun).status_code == 409

    again = initiate(server, run, {}, files=[file], uploadKey="k")
    assert [part["partNumber"] for part in again["files"][0]["parts"]] == [1, 3]
    named = put_missing(again, {"big": content})
    artifact = finalize(server, run, again, multipartParts=named).json()["artifact"]

    assert download(server, artifact["artifactId"], "big").content == content
    assert (remains(bucket, begun), bucket.denied) == ([], [])
    assert len(set(bucket.puts)) == len(bucket.puts) == 3


def test_parts_that_make_another_file_are_refused(server, run, bucket, small_parts):
    """S3's own SHA-256 of the whole decides; what is wrong goes, and the file is asked for again."""
    content = large()
    begun = initiate(server, run, {"big": content})
    put_missing(begun, {"big": content[:-1] + b"x"})

    assert finalize(server, run, begun).status_code == 409
    assert sha256(content) not in "".join(bucket.keys())
    again = initiate(server, run, {"big": content})
    assert len(again["files"][0]["parts"]) == 3


def test_a_blob_is_not_overwritten_by_what_claims_its_digest(server, run, bucket, small_parts):
    """A file in parts that is announced with the SHA-256 of another one harms neither that nor its versions."""
    content = secrets.token_bytes(100)
    artifact = upload(server, run, {"a": content})["artifact"]
    wrong = large()
    begun = initiate(server, run, {}, files=[entry("big", wrong) | {"sha256": sha256(content)}])
    put_missing(begun, {"big": wrong})

    assert finalize(server, run, begun).status_code == 409
    assert download(server, artifact["artifactId"], "a").content == content


def test_what_was_joined_before_a_crash_is_not_sent_again(server, run, bucket, small_parts, monkeypatch):
    """The server dies after S3 has joined the parts and before anything is noted: the next finalization goes on."""
    content = large()
    begun = initiate(server, run, {"big": content}, uploadKey="k")
    put_missing(begun, {"big": content})
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "_copy", lambda *arguments: 1 / 0)
        assert finalize(server, run, begun).status_code == 500
    bucket.puts.clear()

    assert initiate(server, run, {"big": content}, uploadKey="k")["files"] == []
    assert finalize(server, run, begun).status_code == 200
    assert bucket.puts == []


def test_what_is_larger_than_s3_copies_at_once_is_copied_in_pieces(server, run, bucket, small_parts, monkeypatch):
    """The bound, which is 5 GiB there, is 8 MiB here."""
    monkeypatch.setattr(s3, "COPY_BYTES", 8 * MIB)
    monkeypatch.setattr(s3, "PIECE_BYTES", 6 * MIB)
    content = large()

    begun = initiate(server, run, {"big": content})
    put_missing(begun, {"big": content})
    artifact = finalize(server, run, begun).json()["artifact"]

    assert download(server, artifact["artifactId"], "big").content == content
    assert remains(bucket, begun) == []


def test_what_a_killed_client_had_sent_is_not_asked_for_again(server, run, bucket):
    """The bucket is asked when an upload key comes again."""
    files = {name: secrets.token_bytes(10) for name in "abc"}
    begun = initiate(server, run, files, uploadKey="k")
    put_missing({"files": begun["files"][:2]}, files)

    again = initiate(server, run, files, uploadKey="k")

    assert [file["path"] for file in again["files"]] == ["c"]


def test_another_workspace_has_to_send_what_this_one_has(server, run, bucket):
    """Knowing a SHA-256 gives nobody the file: it has to come, to a place of its own."""
    content = secrets.token_bytes(10)
    upload(server, run, {"a": content})
    assert server.post("/api/v1/workspaces", json={"slug": "other", "name": "other"}).status_code in (200, 201)
    theirs = f"run_{secrets.token_hex(4)}"
    Sender(server, theirs).send(RunStart(time.time_ns(), theirs, "other", "digits", theirs))
    begun = initiate(server, theirs, {"a": content})

    assert [file["path"] for file in begun["files"]] == ["a"]
    assert finalize(server, theirs, begun).status_code == 409
    put_missing(begun, {"a": content})
    assert finalize(server, theirs, begun).status_code == 200
    assert "".join(bucket.keys()).count(f"/{sha256(content)}") == 2


# -- forged, altered, expired, replayed ----------------------------------------------------------------------------


def altered(url, **fields):
    """An address with other fields."""
    place, _, query = url.partition("?")
    return f"{place}?{urlencode(dict(parse_qsl(query)) | fields, quote_via=quote)}"


def forged(bucket, secret):
    """An address signed with another secret."""
    credentials = type("Key", (), {"access_key": doubles.ACCESS_KEY, "secret_key": secret, "token": None})
    headers = {"content-length": "4"}
    return presign("PUT", f"{bucket.url}/{doubles.BUCKET}/team/a/x", headers, {}, credentials, doubles.REGION, 60)


def test_the_verifier_takes_what_is_signed_right(bucket):
    """Otherwise the refusals below would prove nothing."""
    assert put(forged(bucket, doubles.SECRET_KEY), b"real").status_code == 200


def test_forged_and_altered_addresses_are_refused(server, run, bucket):
    """Another secret, length, checksum, key, expiry, method or header: S3 refuses, and there is no version."""
    content = secrets.token_bytes(8)
    begun = initiate(server, run, {"a": content})
    url, headers = begun["files"][0]["url"], begun["files"][0]["requiredHeaders"]
    other = {**headers, "x-amz-checksum-sha256": s3.encoded(sha256(b"other..."))}
    without = {name: value for name, value in headers.items() if "checksum-sha256" not in name}

    answers = {
        "secret": put(forged(bucket, "guessed"), b"real"),
        "content": put(url, b"other...", **headers),
        "length": put(url, content + b"x", **headers),
        "checksum": put(url, b"other...", **other),
        "no checksum": put(url, content, **without),
        "key": put(url.replace(sha256(content), sha256(b"other...")), content, **headers),
        "workspace": put(url.replace("/blobs/wsp_", "/blobs/wsp_0"), content, **headers),
        "expiry": put(altered(url, **{"X-Amz-Expires": "604800"}), content, **headers),
        "signed headers": put(altered(url, **{"X-Amz-SignedHeaders": "host"}), content, **headers),
        "more fields": put(url + "&x-id=PutObject", content, **headers),
        "more headers": put(url, content, **headers, **{"x-amz-acl": "public-read"}),
        "method": requests.delete(url, headers=headers, timeout=20),
        "read": requests.get(url, headers=headers, timeout=20),
        "no signature": put(url.partition("?")[0], content, **headers),
    }

    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code not in (400, 403)} == {}
    assert finalize(server, run, begun).status_code == 409
    assert sha256(content) not in "".join(bucket.keys())


def test_expired_addresses_are_refused(server, run, bucket, monkeypatch):
    """A download after five minutes, an upload after six hours."""
    content = secrets.token_bytes(8)
    artifact = upload(server, run, {"a": content})["artifact"]
    past = datetime.now(UTC) - timedelta(hours=6, seconds=1)
    monkeypatch.setattr(signing, "time", SimpleNamespace(strftime=time.strftime, gmtime=past.timetuple))
    begun = initiate(server, run, {"b": b"12345678"})
    past = datetime.now(UTC) - timedelta(minutes=5, seconds=1)
    monkeypatch.setattr(signing, "time", SimpleNamespace(strftime=time.strftime, gmtime=past.timetuple))
    found = server.post("/api/v1/artifacts/download", json={"artifactId": artifact["artifactId"], "path": "a"}).json()
    monkeypatch.undo()

    assert put(begun["files"][0]["url"], b"12345678", **begun["files"][0]["requiredHeaders"]).status_code == 403
    assert requests.get(found["url"], timeout=20).status_code == 403
    assert finalize(server, run, begun).status_code == 409


def test_a_replayed_address_brings_the_same_and_nothing_else(server, run, bucket):
    """A PUT again stores the very bytes again; of a version that is gone a sweep removes them."""
    content = secrets.token_bytes(8)
    begun = initiate(server, run, {"a": content})
    file = begun["files"][0]
    assert put(file["url"], content, **file["requiredHeaders"]).status_code == 200
    artifact = finalize(server, run, begun).json()["artifact"]

    assert put(file["url"], content, **file["requiredHeaders"]).status_code == 200
    assert download(server, artifact["artifactId"], "a").content == content
    assert server.call("DELETE", f"/api/v1/artifacts/{artifact['artifactId']}").status_code == 200
    server.store._purge.run(int(time.time() * 1000))
    assert sha256(content) not in "".join(bucket.keys())
    assert put(file["url"], content, **file["requiredHeaders"]).status_code == 200
    assert finalize(server, run, begun).json()["artifact"]["artifactId"] == artifact["artifactId"]
    assert server.get(f"/api/v1/artifacts/{artifact['artifactId']}").status_code == 404
    server.store._purge.sweep()
    assert sha256(content) not in "".join(bucket.keys())


def test_a_part_cannot_be_put_after_the_file_is_whole(server, run, bucket, small_parts):
    """S3 knows the upload no more."""
    content = large()
    begun = initiate(server, run, {}, files=[in_parts(content)])
    put_missing(begun, {"big": content})
    assert finalize(server, run, begun).status_code == 200
    part = begun["files"][0]["parts"][0]

    # moto falls over such a part; S3 answers 404 NoSuchUpload.
    assert put(part["url"], content[: 5 * MIB], **part["requiredHeaders"]).status_code >= 400


# -- media ---------------------------------------------------------------------------------------------------------


def test_media_are_shown_from_the_bucket(server, run, bucket):
    """The page is sent there, its policy allows just that origin, and what it may not show is an attachment."""
    log(server, run, PNG, content_type="image/png")
    log(server, run, b"\x00", key="odd", kind="file", content_type="application/x-sh")
    image, odd = sorted(items(server, run), key=lambda item: item["key"], reverse=True)

    sent = server.get(image["url"], allow_redirects=False)
    assert (sent.status_code, sent.content) == (307, b"")
    assert sent.headers["cache-control"].startswith("private, ")
    shown = server.get(image["url"])
    assert (shown.content, shown.headers["content-type"]) == (PNG, "image/png")
    assert "content-disposition" not in shown.headers
    saved = server.get(odd["url"])
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"].startswith("attachment")
    policy = requests.get(server.url, timeout=20).headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert f"img-src 'self' {bucket.url};" in policy and "script-src" not in policy
    assert requests.get(server.url + image["url"], allow_redirects=False, timeout=20).status_code == 401


def test_json_routes_never_answer_with_a_redirect(server, run):
    """A download is an address in a document."""
    artifact = upload(server, run, {"a": secrets.token_bytes(3)})["artifact"]
    body = {"artifactId": artifact["artifactId"], "path": "a"}

    answer = server.post("/api/v1/artifacts/download", json=body, allow_redirects=False)

    assert answer.status_code == 200 and answer.json()["sizeBytes"] == 3


# -- what goes -----------------------------------------------------------------------------------------------------


def test_what_nothing_refers_to_is_removed(server, run, bucket):
    """The object of a removed version goes, what another version has too stays."""
    alone, shared = secrets.token_bytes(8), secrets.token_bytes(8)
    first = upload(server, run, {"alone": alone, "shared": shared})["artifact"]
    upload(server, run, {"shared": shared}, name="other")
    server.call("DELETE", f"/api/v1/artifacts/{first['artifactId']}")

    server.store._purge.run(int(time.time() * 1000))

    found = "".join(bucket.keys())
    assert sha256(alone) not in found and sha256(shared) in found


def test_checkpoints_beyond_keep_last_leave_the_bucket(server, run, bucket):
    """Two of four are kept, with their objects."""
    contents = [secrets.token_bytes(8) for _ in range(4)]
    policy = {"strategy": "keep_last", "keepLast": 2}
    for step, content in enumerate(contents):
        upload(server, run, {"w": content}, artifactType="checkpoint", step=step, retentionPolicy=policy)

    server.store._purge.run(int(time.time() * 1000))

    found = "".join(bucket.keys())
    assert [sha256(content) in found for content in contents] == [False, False, True, True]


def test_abandoned_uploads_are_given_up_in_the_bucket_too(server, run, bucket, small_parts):
    """After a day: parts are aborted, and whole files that nobody finalized go with the next sweep, no sooner."""
    content, single = large(), secrets.token_bytes(8)
    begun = initiate(server, run, {"big": content, "single": single})
    put_missing(begun, {"big": content, "single": single})
    server.store._purge.sweep()
    assert len(remains(bucket, begun)) == 1
    assert sha256(single) in "".join(bucket.keys())

    server.store._purge.run(int(time.time() * 1000) + UNFINISHED_MILLISECONDS + 60_000)
    server.store._purge.sweep()

    assert (remains(bucket, begun), sha256(single) in "".join(bucket.keys())) == ([], False)
    assert finalize(server, run, begun).status_code == 404


# -- when S3 is away, or not as it should be -----------------------------------------------------------------------


def test_without_s3_the_server_says_so_and_goes_on(server, run, bucket):
    """503, which clients try again, for what needs the bucket; everything else is answered."""
    files = {"a": secrets.token_bytes(8)}
    begun = initiate(server, run, files, uploadKey="k")
    put_missing(begun, files)
    bucket.stop()
    try:
        answer = finalize(server, run, begun)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "INTERNAL_ERROR")
        assert server.get(f"/api/v1/runs/{run}").status_code == 200
    finally:
        bucket.start()

    assert finalize(server, run, begun).status_code == 200


@pytest.mark.parametrize(
    ("place", "environment", "said"),
    [
        ("s3://missing-bucket/x", {}, "there is no bucket 'missing-bucket'"),
        ("s3://runs/../x", {}, "is no place of artifacts"),
        ("/somewhere", {}, "is no place of artifacts"),
        ("s3://runs", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "credentials"),
        ("s3://runs", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no AWS credentials"),
        ("s3://runs", {"AWS_PROFILE": "nobody"}, "nobody"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_said_at_the_start(bucket, monkeypatch, place, environment, said):
    """Once, with what to do about it."""
    for name, value in environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)

    with pytest.raises(StoreError, match=said):
        Bucket(place, lambda name: nullcontext())


def test_without_boto3_the_extra_is_named(bucket, monkeypatch):
    """The package is optional."""
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)

    with pytest.raises(StoreError, match=r"rundial\[s3\]"):
        Bucket("s3://runs", lambda name: nullcontext())


def test_a_bucket_without_checksums_is_refused(bucket, monkeypatch):
    """What says nothing of SHA-256 could store anything."""
    monkeypatch.setattr(bucket, "forgets_checksums", True)

    with pytest.raises(StoreError, match="does not keep SHA-256 checksums"):
        Bucket("s3://runs", lambda name: nullcontext())


def test_files_are_not_sought_in_another_place_than_they_are(bucket, tmp_path):
    """A server with files on its disk does not start with S3, nor the other way round."""
    with serving(tmp_path / "data") as server:
        Sender(server, "run_a").start()
        upload(server, "run_a", {"a": b"1"})

    with pytest.raises(StoreError, match="without --artifacts"):
        Store(tmp_path / "data", artifacts="s3://runs/b")
    with serving(tmp_path / "other", artifacts="s3://runs/b") as server:
        Sender(server, "run_a").start()
        upload(server, "run_a", {"a": b"1"})
    for place in (None, "s3://runs/c"):
        with pytest.raises(StoreError, match="Start it --artifacts s3://runs/b"):
            Store(tmp_path / "other", artifacts=place)


def test_files_are_moved_as_the_page_about_the_server_says(bucket, tmp_path):
    """Stopped, copied and noted: what was on the disk is got from the bucket, and is not asked for again."""
    with serving(tmp_path / "data") as server:
        Sender(server, "run_a").start()
        artifact = upload(server, "run_a", {"a": b"moved"})["artifact"]
        workspace = server.get("/api/v1/workspaces").json()["workspaces"][0]["workspaceId"]
    for path in (tmp_path / "data/blobs").glob("??/*"):
        key = f"moved/blobs/{workspace}/{path.parent.name}/{path.name}"
        bucket.client.upload_file(str(path), doubles.BUCKET, key)
    with closing(sqlite3.connect(tmp_path / "data/rundial.db")) as db, db:
        db.execute("UPDATE settings SET value = 's3://runs/moved' WHERE name = 'blobs'")

    with serving(tmp_path / "data", artifacts="s3://runs/moved") as server:
        assert download(server, artifact["artifactId"], "a").content == b"moved"
        assert initiate(server, "run_a", {"b": b"moved"})["files"] == []


def test_the_command_line_says_what_is_wrong(bucket, tmp_path):
    """One line on stderr, no traceback."""
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(tmp_path / "d")]
    done = subprocess.run([*command, "--artifacts", "s3://absent"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "there is no bucket 'absent'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.postgres
def test_two_servers_on_one_database_and_one_bucket(bucket, cluster, tmp_path, small_parts):
    """An upload begun at one is finished at the other, also by both at once; they share the owner's key, no folder."""
    url = cluster.database()
    contents = {"big": large(), "small": secrets.token_bytes(10)}
    place = f"s3://{doubles.BUCKET}/two"
    with ExitStack() as stack:
        one = stack.enter_context(serving(tmp_path / "a", url, artifacts=place))
        (tmp_path / "b").mkdir(mode=0o700)
        shutil.copy(tmp_path / "a/owner.key", tmp_path / "b")
        two = stack.enter_context(serving(tmp_path / "b", url, artifacts=place))
        Sender(one, "run_a").start()
        begun = initiate(one, "run_a", contents, uploadKey="k")
        put_missing({"files": begun["files"][:1]}, contents)
        again = initiate(two, "run_a", contents, uploadKey="k")
        assert len(again["files"]) == 1
        put_missing(again, contents)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda server: finalize(server, "run_a", begun), (one, two)))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        artifact = answers[0].json()["artifact"]
        assert {path: download(two, artifact["artifactId"], path).content for path in contents} == contents
        assert two.call("DELETE", f"/api/v1/artifacts/{artifact['artifactId']}").status_code == 200
        two.store._purge.run(int(time.time() * 1000))
        one.store._purge.sweep()
        assert bucket.keys("two") == []
    cluster.give_back(url)
