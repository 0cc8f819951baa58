"""The artifacts of a run: the list, one version opened, its files to save, and its lineage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.server.uploader import upload
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser


class Api:
    """The server as the uploader wants it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def post(self, path: str, key: str | None = None, **options: Any) -> Any:
        return self._server.post(path, **options)


@pytest.fixture
def log(server: Server) -> Callable[..., Any]:
    """Uploads files to a run: ``log(run, files, name=..., ...)``."""
    return lambda run, files, **more: upload(Api(server), run.run_id, files, **more)["artifact"]


def open_artifacts(page: Page, server: Server, run: LoggedRun) -> None:
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=artifacts")


def test_a_version_is_opened_and_a_file_saved(server: Server, page: Page, log: Callable[..., Any]) -> None:
    """Names, aliases, sizes and metadata are as they were logged; a file is saved as it was; names are only text."""
    run = LoggedRun(server, "shown")
    files = {"model.bin": bytes(2048), "<img src=x onerror=alert(1)>": b"1"}
    log(run, files, name="net", artifactType="model", aliases=["best"], step=70, metadata={"acc": {"top1": 0.93}})
    open_artifacts(page, server, run)

    page.get_by_role("button", name="net:v1").click()

    opened = page.get_by_role("region", name="artifact", exact=True)
    expect(opened.get_by_role("heading", level=2)).to_contain_text("net:v1 bestlatest")
    expect(opened).to_contain_text("model, 2 files, 2.00 KiB, step 70")
    expect(opened).to_contain_text("acc.top1")
    expect(opened).to_contain_text("<img src=x onerror=alert(1)>")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download model.bin").click()
    assert saved.value.suggested_filename == "model.bin"
    assert Path(saved.value.path()).read_bytes() == bytes(2048)
    page.go_back()
    expect(opened).to_have_count(0)


def test_lineage_leads_to_the_other_runs(server: Server, page: Page, log: Callable[..., Any]) -> None:
    """From the run that uses a version to the one that made it, and what lies elsewhere is shown as text."""
    maker, user = LoggedRun(server, "lineage", "maker"), LoggedRun(server, "lineage", "user")
    log(maker, {}, name="data", references=[{"path": "train.parquet", "uri": "s3://bucket/train.parquet"}])
    server.post("/api/v1/artifacts/use", json={"runId": user.run_id, "artifactRef": "data"})
    open_artifacts(page, server, user)

    page.get_by_role("button", name="data:v1").click()

    expect(page.get_by_role("list", name="used by").get_by_role("link")).to_have_text("user")
    expect(page.get_by_text("s3://bucket/train.parquet")).to_be_visible()
    page.get_by_role("list", name="made by").get_by_role("link", name="maker").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("maker")
    expect(page.get_by_role("row", name="data:v1")).to_contain_text("made")


def test_a_new_version_appears_by_itself(server: Server, page: Page, log: Callable[..., Any]) -> None:
    """The list is live, and latest moves; before there is anything it says how to log something."""
    run = LoggedRun(server, "live-artifacts")
    open_artifacts(page, server, run)
    expect(page.get_by_text("run.log_artifact(")).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    log(run, {"a": b"1"}, name="net")
    expect(page.get_by_role("row", name="net:v1")).to_contain_text("latest")
    log(run, {"a": b"2"}, name="net")

    expect(page.get_by_role("row", name="net:v2")).to_contain_text("latest")
    expect(page.get_by_role("row", name="net:v1")).not_to_contain_text("latest")


def test_lineage_reaches_what_it_was_made_from(server: Server, page: Page, log: Callable[..., Any]) -> None:
    """Data, the run that trained on it, the model, the run that used the model and what that made; each is opened."""
    prepare, train, serve = (LoggedRun(server, "chain", name) for name in ("prepare", "train", "serve"))
    log(prepare, {"a": b"1"}, name="data")
    server.post("/api/v1/artifacts/use", json={"runId": train.run_id, "artifactRef": "data"})
    log(train, {"m": b"2"}, name="model")
    server.post("/api/v1/artifacts/use", json={"runId": serve.run_id, "artifactRef": "model"})
    log(serve, {"r": b"3"}, name="report")
    open_artifacts(page, server, train)
    page.get_by_role("button", name="model:v1").click()

    expect(page.get_by_role("list", name="made from")).to_contain_text("data:v1")
    expect(page.get_by_role("list", name="became")).to_contain_text("report:v1")
    page.screenshot(path=SCREENSHOTS / "lineage.png")
    page.get_by_role("list", name="made from").get_by_role("button").click()

    expect(page.get_by_role("region", name="artifact", exact=True).get_by_role("heading", level=2)).to_contain_text(
        "data:v1"
    )
    expect(page.get_by_role("list", name="used by")).to_contain_text("train")
    expect(page.get_by_role("list", name="became")).to_contain_text("model:v1")
