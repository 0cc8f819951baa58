"""The code of a run: its files, what of them was not committed, and the environment."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from rundial.events import RunUpdate
from tests.server.uploader import upload
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server
from tests.ui.test_artifacts import Api
from tests.ui.test_compare import packed

pytestmark = pytest.mark.browser

MINUS = "\N{MINUS SIGN}"
PATCH = """diff --git a/src/train.py b/src/train.py
index 1111111..2222222 100644
--- a/src/train.py
+++ b/src/train.py
@@ -1,3 +1,3 @@
 import torch
-lr = 0.1
+lr = "<img src=x onerror=alert(1)>"
 end = 1
diff --git a/notes.txt b/notes.txt
new file mode 100644
--- /dev/null
+++ b/notes.txt
@@ -0,0 +1 @@
+try a smaller step
"""
FILES = {
    "src/train.py": 'import torch\nlr = "<script>alert(1)</script>"\n' + "step()\n" * 60,
    "src/models/vit.py": "class ViT: ...\n",
    "README.md": "# digits\n",
    "weights.bin": "a\0b",
}
GIT = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "branch": "main",
    "dirty": True,
    "remote": "git@host:me/digits",
}


@pytest.fixture(scope="module")
def coded(server: Server) -> LoggedRun:
    run = LoggedRun(server, "coded", "with-code", system={"command": "python src/train.py --lr 0.1"})
    packages = {"torch": "2.13.0", "numpy": "2.1.0"}
    run.send(RunUpdate(time.time_ns(), environment={"git": GIT, "python": {"version": "3.11.9"}, "packages": packages}))
    upload(Api(server), run.run_id, {"git.patch": PATCH.encode()}, name="patch-coded", artifactType="code")
    upload(Api(server), run.run_id, {"code.zip": packed(FILES)}, name="code-coded", artifactType="code")
    return run


def open_code(page: Page, server: Server, run: LoggedRun, more: str = "") -> None:
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=code{more}")


def test_what_was_not_committed_is_read_as_a_diff(server: Server, page: Page, coded: LoggedRun) -> None:
    """File by file, with what was added and removed; markup in it is text."""
    open_code(page, server, coded)
    room = page.get_by_role("region", name="What is read")

    expect(room.locator("summary")).to_have_text([f"src/train.py +1 {MINUS}1", f"notes.txt +1 {MINUS}0"])
    expect(room.locator("pre .added").first).to_have_text('+lr = "<img src=x onerror=alert(1)>"')
    expect(room.locator("pre .removed")).to_have_text("-lr = 0.1")
    expect(page.get_by_role("navigation", name="Code")).to_contain_text("0123456789 and changes")
    page.screenshot(path=SCREENSHOTS / "code-patch.png")


def test_files_are_listed_found_and_read(server: Server, page: Page, coded: LoggedRun) -> None:
    """In the order of folders; what is read stands in the address, with numbers beside its lines."""
    open_code(page, server, coded)
    files = page.locator(".code-list ul.code button")
    expect(files).to_have_text(["README.md", "weights.bin", "src/train.py", "src/models/vit.py"])

    page.get_by_role("searchbox", name="Find a file").fill("TRAIN")
    expect(files).to_have_text(["src/train.py"])
    files.click()

    room = page.get_by_role("region", name="What is read")
    expect(room.locator(".source pre").last).to_contain_text('lr = "<script>alert(1)</script>"')
    expect(room.locator(".numbers")).to_contain_text("62")
    expect(room.get_by_role("heading")).to_contain_text("62 lines")
    page.screenshot(path=SCREENSHOTS / "code-file.png")
    page.reload()
    expect(room.get_by_role("heading")).to_contain_text("src/train.py")
    page.get_by_role("searchbox", name="Find a file").fill("")
    page.get_by_role("button", name="weights.bin").click()
    expect(room).to_contain_text("This is no text.")


def test_environment_is_read_with_its_packages(server: Server, page: Page, coded: LoggedRun) -> None:
    """What the machine was, then every package with its version."""
    open_code(page, server, coded)
    page.get_by_role("button", name="environment").click()

    expect(page.get_by_role("heading", name="Packages · 2")).to_be_visible()
    expect(page.get_by_role("row", name="torch")).to_contain_text("2.13.0")
    expect(page.get_by_role("row", name="python.version")).to_contain_text("3.11.9")
    page.screenshot(path=SCREENSHOTS / "code-environment.png")


def test_code_appears_when_it_arrives(server: Server, page: Page) -> None:
    """Before there is any the tab says how to take it along; a snapshot is shown as soon as it is here."""
    run = LoggedRun(server, "coded", "late")
    open_code(page, server, run)
    expect(page.get_by_text("snapshot_code=True")).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    upload(Api(server), run.run_id, {"code.zip": packed({"a.py": "x = 1\n"})}, name="code-late", artifactType="code")

    expect(page.locator(".source pre").last).to_have_text("x = 1\n", use_inner_text=True)
