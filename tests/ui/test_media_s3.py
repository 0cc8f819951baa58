"""Media in the page when their files are in S3: the browser gets them there, and its policy lets it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.server import s3
from tests.server.s3 import S3Server
from tests.ui.conftest import Server
from tests.ui.test_media import (  # noqa: F401
    ended,
    logging,
    test_boxes_and_masks_lie_over_the_picture,
    test_every_kind_is_shown,
    test_logged_page_keeps_its_style,
    test_pictures_in_a_table,
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    yield from s3.running()


@pytest.fixture(scope="module")
def server(bucket: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with its files in the bucket."""
    data = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "rundial", "server", "--port", "0", "--data", str(data)]
    command += ["--artifacts", f"s3://{s3.BUCKET}/page"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        said = process.stdout.readline()
        assert "listening on" in said, "the server did not start; its own words are above"
        yield Server(said.split()[-1], (data / "owner.key").read_text().strip())
        process.terminate()


@pytest.fixture
def page(server: Server, bucket: S3Server, browser: Browser) -> Iterator[Page]:
    """A page that is signed in. It must not complain, and asks the server and the bucket alone."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []
    own = (server.url, f"{bucket.url}/{s3.BUCKET}/page/blobs/")
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda it: None if it.url.startswith(own) else complaints.append(f"asked for {it.url}"))
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    yield page
    page.close()
    assert complaints == []
    assert bucket.gets and not bucket.denied
