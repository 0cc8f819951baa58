"""The files of a version as a tree, each shown in place as what it is, and two versions compared."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.server.uploader import upload
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server, until
from tests.ui.test_artifacts import Api

pytestmark = pytest.mark.browser

HOSTILE = b"<script>parent.ran = 1</script><svg onload='parent.ran = 1'><img src=x onerror='parent.ran = 1'>"
CONFIG = {"lr": 0.001, "layers": [64, 32], "deep": {"deeper": {"deepest": "<b>text</b>"}}, "none": None}
CSV = b'name,score,"note, long"\nb,2.5,"said ""hi"""\na,10,\n' + b"\n".join(b"row %d,%d," % (n, n) for n in range(150))


def picture(shade: int) -> bytes:
    y, x = np.mgrid[:90, :160]
    file = io.BytesIO()
    Image.fromarray(np.stack([x, y * 2, 0 * x + shade], axis=-1).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 800, "NONE", ""))
        out.writeframes((np.sin(np.arange(800) / 5) * 9000).astype("<i2").tobytes())
    return file.getvalue()


FILES: dict[str, bytes] = {
    "config.json": json.dumps(CONFIG).encode(),
    "scores.csv": CSV,
    "README.md": "# Größe\n\n".encode() + b"word " * 2000 + b"\nlast line\n",
    "weights.bin": bytes(range(256)) * 600,
    "empty.txt": b"",
    "plots/roc.png": picture(40),
    "plots/beep.wav": sound(),
    "plots/paper.pdf": b"%PDF-1.7",
    "plots/broken.png": b"no picture",
    "hostile/page.html": HOSTILE,
    "hostile/drawing.svg": HOSTILE,
    "hostile/<img src=x onerror=alert(1)>.json": b'{"__proto__": "' + HOSTILE.replace(b"'", b"") + b'"}',
    "src/long.log": b"".join(b"line %d of the log\n" % n for n in range(80_000)),
    "src/train.py": b"import rundial as rd\n\n\nfor step in range(10):\n    loss = 1 / (step + 1)\n",
}


def log(server: Server, run: LoggedRun, files: dict[str, bytes], **more: Any) -> str:
    return str(upload(Api(server), run.run_id, files, **more)["artifact"]["artifactId"])


@pytest.fixture(scope="module")
def bundle(server: Server) -> tuple[LoggedRun, str]:
    """A run and the id of a version with a file of every kind."""
    run = LoggedRun(server, "files")
    return run, log(server, run, FILES, name="bundle", artifactType="model")


def open_version(page: Page, server: Server, run: LoggedRun, artifact: str, **query: str) -> None:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=artifacts&artifact={artifact}{more}")
    expect(page.get_by_role("tree", name="files")).to_be_visible()


def choose(page: Page, name: str) -> Locator:
    """Click a file of the tree; what is shown of it."""
    page.get_by_role("treeitem", name=name).first.click()
    return page.get_by_role("region", name="file", exact=True)


def test_each_kind_of_file_is_shown_in_place(server: Server, page: Page, bundle: tuple[LoggedRun, str]) -> None:
    """Text with numbers, JSON that folds, a table that sorts, a picture, a sound, the bytes of what is nothing else."""
    open_version(page, server, *bundle)

    file = choose(page, "train.py")
    expect(file.get_by_role("group", name="Text")).to_contain_text("for step in range(10):")
    expect(file.locator(".numbers")).to_have_text("1\n2\n3\n4\n5")
    file = choose(page, "config.json")
    expect(file.get_by_role("group", name="JSON")).to_contain_text("deep: {1 key}")
    file.get_by_text("deeper").click()
    expect(file.get_by_role("group", name="JSON")).to_contain_text('"<b>text</b>"')
    page.screenshot(path=SCREENSHOTS / "artifact-json.png")
    file.get_by_role("button", name="as text").click()
    expect(file.get_by_role("group", name="Text")).to_contain_text('{"lr": 0.001')
    file = choose(page, "scores.csv")
    expect(file.get_by_role("row")).to_have_count(101)
    expect(file.get_by_role("row").nth(1)).to_contain_text('b2.500said "hi"')
    file.get_by_role("button", name="score").click()
    expect(file.get_by_role("row").nth(1)).to_contain_text("row 00")
    file.get_by_label("Filter rows").fill("row 149")
    expect(file.get_by_role("row")).to_have_count(2)
    page.screenshot(path=SCREENSHOTS / "artifact-table.png")
    file = choose(page, "roc.png")
    until(page, lambda: file.get_by_role("img").evaluate("image => image.naturalWidth") == 160)
    file = choose(page, "beep.wav")
    until(page, lambda: file.locator("audio").evaluate("audio => audio.duration") == 0.1)
    expect(choose(page, "paper.pdf")).to_contain_text("Download it to read it")
    expect(choose(page, "broken.png")).to_contain_text("cannot show it as a picture")
    expect(choose(page, "weights.bin")).to_contain_text("000010  10 11 12 13")
    expect(choose(page, "empty.txt")).to_contain_text("The file is empty.")
    expect(choose(page, "README.md")).to_contain_text("8,000 characters more")


def test_a_long_text_is_shown_in_part(server: Server, page: Page, bundle: tuple[LoggedRun, str]) -> None:
    """Its first MiB, and of that so many lines; the file is saved whole."""
    open_version(page, server, *bundle, content="src/long.log")

    file = page.get_by_role("region", name="file", exact=True)
    expect(file).to_contain_text("the first MiB")
    expect(file).to_contain_text("more; download the file to read them")
    with page.expect_download() as saved:
        file.get_by_role("button", name="Download this file").click()

    assert saved.value.suggested_filename == "long.log"
    assert Path(saved.value.path()).read_bytes() == FILES["src/long.log"]


def test_nothing_of_a_file_runs(server: Server, page: Page, bundle: tuple[LoggedRun, str]) -> None:
    """HTML and SVG are shown as text; names and texts in JSON are text as well."""
    open_version(page, server, *bundle)

    for name in ("page.html", "drawing.svg"):
        expect(choose(page, name).get_by_role("group", name="Text")).to_contain_text("<script>parent.ran = 1</script>")
    expect(choose(page, "<img src=x")).to_contain_text('__proto__: "<script>parent.ran = 1</script>')

    assert page.evaluate("window.ran") is None
    assert page.locator(".artifact :is(iframe, object, embed, script)").count() == 0


def test_thousands_of_files_stay_few_rows(server: Server, page: Page) -> None:
    """Only what is seen is drawn; folders fold, a search opens them, the largest come first when asked for."""
    run = LoggedRun(server, "many-files")
    files = {f"data/part-{n // 100:02}/sample-{n:04}.txt": b"x" * (n % 7) for n in range(3000)} | {"top.txt": b"12"}
    artifact = log(server, run, files, name="dataset")
    open_version(page, server, run, artifact)
    items = page.get_by_role("treeitem")

    expect(page.get_by_text("3,001 files", exact=True)).to_be_visible()
    expect(items).to_have_count(2)
    items.first.click()
    expect(items.nth(1)).to_contain_text("part-00")
    page.get_by_role("tree").press("ArrowDown")
    page.get_by_role("tree").press("ArrowRight")
    expect(page.get_by_role("treeitem", name="sample-0003.txt")).to_be_visible()
    page.get_by_label("Find a file").fill("sample-29")
    expect(page.get_by_text("100 of 3,001 files")).to_be_visible()
    page.get_by_role("tree").press("End")
    expect(page.get_by_role("treeitem", name="sample-2999.txt")).to_be_visible()
    assert items.count() < 60
    page.get_by_role("tree").press("Enter")
    page.get_by_role("combobox", name="order").select_option("size")
    page.reload()
    expect(page.get_by_role("region", name="file", exact=True)).to_contain_text("data/part-29/sample-2999.txt")
    expect(page.get_by_role("treeitem", name="sample-2999.txt", selected=True)).to_be_visible()
    page.get_by_role("tree").press("Home")
    expect(items.nth(2)).to_contain_text("sample-2904.txt")
    page.get_by_label("Find a file").fill("")
    expect(page.get_by_role("treeitem", name="sample-2999.txt", selected=True)).to_be_visible()


def test_two_versions_are_compared(server: Server, page: Page) -> None:
    """Only what is different, by digest: added, removed and changed files; lines and pictures of both."""
    run = LoggedRun(server, "compared")
    same = {f"same-{n}": b"1" for n in range(20)}
    old = log(server, run, same | {"gone.txt": b"was here", "train.py": b"a\nb\nc\n", "p.png": picture(0)}, name="net")
    now = log(server, run, same | {"new.txt": b"hello", "train.py": b"a\nB\nc\n", "p.png": picture(200)}, name="net")
    open_version(page, server, run, now)

    page.get_by_label("Compare with version").select_option(old)

    expect(page.get_by_text("1 added, 1 removed, 2 changed")).to_be_visible()
    expect(page.get_by_role("treeitem")).to_have_count(4)
    file = choose(page, "train.py")
    expect(file.locator("pre .removed")).to_have_text("- b")
    expect(file.locator("pre .added")).to_have_text("+ B")
    page.screenshot(path=SCREENSHOTS / "artifact-compared.png")
    expect(choose(page, "gone.txt")).to_contain_text("was here")
    expect(choose(page, "new.txt")).to_contain_text("hello")
    file = choose(page, "p.png")
    expect(file.get_by_role("img")).to_have_count(2)
    page.reload()
    expect(page.get_by_role("region", name="v1").get_by_role("img")).to_be_visible()
    page.get_by_label("Compare with version").select_option("")
    expect(page.get_by_role("treeitem")).to_have_count(23)


def test_a_version_is_saved_whole(server: Server, page: Page, bundle: tuple[LoggedRun, str]) -> None:
    """As one tar with every file in its folder."""
    open_version(page, server, *bundle)

    with page.expect_download() as saved:
        page.get_by_role("link", name="download all").click()

    assert saved.value.suggested_filename == "bundle-v1.tar"
    with tarfile.open(saved.value.path()) as tar:
        names = {one.name.removeprefix("bundle-v1/"): one.size for one in tar}
    assert names == {path: len(content) for path, content in FILES.items()}
