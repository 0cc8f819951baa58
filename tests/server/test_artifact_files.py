"""Files of a version shown in place, and all of them as an archive."""

from __future__ import annotations

import io
import tarfile

import pytest
import requests

from rundial.server.store import artifacts
from tests.server.uploader import upload


@pytest.fixture
def run(send_to):
    """The id of a run in the project ``digits``."""
    send_to("run_a").start()
    return "run_a"


def content(server, artifact, path, **options):
    return server.get(f"/api/v1/artifacts/{artifact['artifactId']}/content", params={"path": path}, **options)


def archive(server, artifact, **options):
    return server.get(f"/api/v1/artifacts/{artifact['artifactId']}/archive", **options)


def test_pictures_have_their_type_and_all_else_is_opaque(server, run):
    """By the ending alone: what runs in a browser, or calls itself a picture, is bytes to be saved."""
    files = {
        "a.png": b"<script>alert(1)</script>",
        "sub/clip.MP4": b"1",
        "page.html": b"<script>",
        "drawing.svg": b"<svg onload='alert(1)'/>",
        "paper.pdf": b"%PDF-1.7",
        "png": b"2",
        "notes.txt": b"3",
    }
    made = upload(server, run, files)["artifact"]

    answers = {path: content(server, made, path) for path in files}

    kinds = {path: answer.headers["content-type"] for path, answer in answers.items()}
    opaque = dict.fromkeys(("page.html", "drawing.svg", "paper.pdf", "png", "notes.txt"), "application/octet-stream")
    assert kinds == {"a.png": "image/png", "sub/clip.MP4": "video/mp4", **opaque}
    for path, answer in answers.items():
        assert answer.content == files[path]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert answer.headers.get("content-disposition", "").startswith("attachment") == (path in opaque)


def test_a_part_of_a_file_is_enough_to_look_at_it(server, run):
    """Range brings the first bytes; there is nothing at a path that is not there, and a reference lies elsewhere."""
    elsewhere = [{"path": "far", "uri": "s3://bucket/far"}]
    made = upload(server, run, {"log.txt": b"0123456789"}, references=elsewhere)["artifact"]

    part = content(server, made, "log.txt", headers={"range": "bytes=0-3"})

    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"0123", "bytes 0-3/10")
    assert content(server, made, "log").status_code == 404
    assert content(server, made, "../log.txt").status_code == 404
    assert content(server, made, "far").status_code == 409
    assert content(server, {"artifactId": "art_none"}, "log.txt").status_code == 404


def test_a_version_is_saved_whole(server, run, monkeypatch):
    """As a tar of just the announced length, however long and foreign the names are; references are not in it."""
    monkeypatch.setattr(artifacts, "STORED_PAGE", 2)
    long = "/".join(["folder" * 8] * 8) + "/größe ✓.txt"
    files = {"a": b"", "b/c.bin": bytes(range(256)) * 3, "b/d": bytes(512), long: b"deep", "z": b"1" * 513}
    made = upload(server, run, files, name="my: net", references=[{"path": "far", "uri": "s3://bucket/far"}])[
        "artifact"
    ]

    answer = archive(server, made)

    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''my-%20net-v1.tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        members = {one.name: tar.extractfile(one).read() for one in tar}
    assert members == {f"my- net-v1/{path}": data for path, data in files.items()}
    head = server.call("HEAD", f"/api/v1/artifacts/{made['artifactId']}/archive")
    assert (head.content, head.headers["content-length"]) == (b"", answer.headers["content-length"])


def test_an_archive_of_a_version_that_is_not_there(server, run):
    """404; one of references alone is empty and whole."""
    made = upload(server, run, {}, references=[{"path": "far", "uri": "s3://bucket/far"}])["artifact"]

    empty = archive(server, made)

    with tarfile.open(fileobj=io.BytesIO(empty.content)) as tar:
        assert tar.getnames() == []
    assert archive(server, {"artifactId": "art_none"}).status_code == 404


def test_an_archive_that_cannot_be_finished_does_not_look_whole(server, run):
    """When a content is gone from the disk the connection breaks before the announced length."""
    made = upload(server, run, {"a": b"first", "b": b"second" * 1000})["artifact"]
    files = server.get(f"/api/v1/artifacts/{made['artifactId']}").json()["files"]
    server.store.blobs.path(files[1]["sha256"]).unlink()

    with pytest.raises(requests.RequestException):
        archive(server, made)
