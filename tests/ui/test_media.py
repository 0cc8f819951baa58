"""Media and tables in the page, logged by a real script."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from tests.ui.conftest import SCREENSHOTS, Server

pytestmark = pytest.mark.browser

SCRIPT = """
    import sys, wave
    import numpy as np
    import rundial as rd
    from rundial.media import Audio, Histogram, Html, Image, Object3D, Plotly, Table, Text, Video

    run = rd.init(project="media", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    print(run.id, flush=True)
    noise = np.random.default_rng(1)
    y, x = np.mgrid[:120, :160]
    mask = ((x - 60) ** 2 + (y - 50) ** 2 < 900).astype(np.uint8) + 2 * (y > 100)
    boxes = {"truth": [{"box": [30, 20, 90, 80], "label": "disc"}],
             "guess": [{"box": [40, 30, 110, 95], "label": "disc", "score": 0.83}]}
    for step in (0, 10, 20):
        picture = np.stack([x + step * 4, y * 2, 255 - x], axis=-1).astype(np.uint8)
        run.log({
            "val/samples": [Image(picture, f"sample {n} of step {step}") for n in range(3)],
            "val/found": Image(picture, boxes=boxes, masks={"parts": mask}, classes=["ground", "disc", "floor"]),
            "weights": Histogram(noise.normal(step, 1, 5000), bins=40),
            "loss": 1 / (step + 1),
        }, step=step)
    digit = Image(np.eye(8))
    table = Table(columns=["id", "label", "score", "image"], caption="validation")
    for row in range(250):
        score = None if row == 3 else (row * 37 % 250) / 250
        table.add_data(row, f"class {row % 7}", score, digit if row < 3 else None)
    table.add_data(250, "<b>not bold</b>", float("nan"), None)
    line = {"type": "scatter", "x": [1, 2, 3], "y": [1, 4, 9], "name": "squares"}
    bars = {"type": "bar", "x": ["a", "b"], "y": [3, 5], "name": "bars"}
    turn = np.linspace(0, 12, 800)
    run.log({
        "predictions": table,
        "sound": Audio(np.sin(np.arange(4000) / 8), sample_rate=8000, caption="a tone"),
        "clip": Video(np.random.default_rng(2).integers(0, 255, (6, 24, 32, 3), dtype=np.uint8), fps=4),
        "report": Html("<h1>Report</h1><style>h1 { color: rgb(200, 0, 0) }</style>"),
        "figure": Plotly({"data": [line, bars], "layout": {"title": {"text": "Two traces"}}}),
        "odd": Plotly({"data": [{"type": "pie", "values": [1, 2]}]}),
        "cloud": Object3D(np.stack([np.cos(turn), np.sin(turn), turn / 6], axis=1)),
        "notes": Text("# all is <i>well</i>", markdown=True),
    }, step=20)
    print(run.flush(60), flush=True)
    for step in map(int, sys.stdin):
        run.log({"val/samples": [Image(np.full((20, 20), step, np.uint8), f"late {step}")]}, step=step)
        print(run.flush(60), flush=True)
    run.finish(60)
"""
HOSTILE = """
    import sys
    import rundial as rd
    from rundial.media import Html, Text

    run = rd.init(project="media", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
    code = "<script>document.body.append('it ran'); top.bad = 1</script><img src=x onerror='top.bad = 2'>"
    run.log({"hostile": Html(f"<p>Page</p>{code}", caption=code), f"words{code}": Text(code)})
    print(run.id, run.finish(60))
"""
SOUND_LENGTH = """it => new Promise((done, fail) => {
    it.onloadedmetadata = () => done(it.duration);
    it.onerror = fail;
    it.load();
})"""


class Logging:
    """A script that has logged all kinds of media, and logs another picture when it is told to."""

    def __init__(self, server: Server) -> None:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), server.url, server.key]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        assert self.process.stdout is not None
        self.run_id = self.process.stdout.readline().strip()
        assert self.process.stdout.readline() == "True\n"

    def log(self, step: int) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{step}\n")
        assert self.process.stdout.readline() == "True\n"

    def end(self) -> None:
        assert self.process.stdin is not None
        with self.process:
            self.process.stdin.close()
            assert self.process.wait(60) == 0


@pytest.fixture(scope="module")
def logging(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Logging:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNDIAL_HOME", str(tmp_path_factory.mktemp("home")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        return Logging(server)


@pytest.fixture(scope="module", autouse=True)
def ended(logging: Logging) -> object:
    """The script ends after the last test."""
    yield
    logging.end()


def open_tab(page: Page, server: Server, logging: Logging, query: str) -> None:
    page.goto(f"{server.url}/#/runs/{logging.run_id}?{query}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def section(page: Page, key: str) -> Locator:
    return page.locator(f'.media-key[data-key="{key}"]')


def loaded(picture: Locator) -> None:
    """Wait until a picture is there with its pixels."""
    expect(picture).to_be_visible()
    picture.scroll_into_view_if_needed()
    picture.evaluate("it => it.decode()")
    assert picture.evaluate("it => it.naturalWidth") > 0


def screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=True)


def test_every_kind_is_shown(server: Server, page: Page, logging: Logging) -> None:
    """Pictures, sound, video, page, histogram, figure, points and text, each under its key with its caption."""
    open_tab(page, server, logging, "tab=media")

    samples = section(page, "val/samples").locator("img")
    expect(samples).to_have_count(3)
    loaded(samples.first)
    expect(section(page, "val/samples").locator("figcaption").first).to_have_text("sample 0 of step 20")
    loaded(section(page, "clip").locator("img"))
    expect(section(page, "sound").locator("audio")).to_be_visible()
    assert section(page, "sound").locator("audio").evaluate(SOUND_LENGTH) == pytest.approx(0.5)
    expect(section(page, "weights").locator("rect.bar").first).to_be_visible()
    expect(section(page, "weights")).to_contain_text("5,000 values")
    expect(section(page, "figure")).to_contain_text("Two traces")
    expect(section(page, "figure").locator("path.trace")).to_have_count(1)
    expect(section(page, "figure").locator("svg > rect")).to_have_count(2)
    expect(section(page, "odd")).to_contain_text("Not drawn here: pie.")
    expect(section(page, "cloud").locator("canvas")).to_be_visible()
    expect(section(page, "notes").locator("pre")).to_have_text("# all is <i>well</i>")
    screenshot(page, "media")


def test_logged_page_keeps_its_style(server: Server, page: Page, logging: Logging) -> None:
    """It is shown as it was written, in a frame of its own."""
    open_tab(page, server, logging, "tab=media")
    frame = section(page, "report").locator("iframe")
    frame.scroll_into_view_if_needed()

    heading = frame.content_frame.get_by_role("heading", name="Report")
    expect(heading).to_be_visible()
    assert heading.evaluate("it => getComputedStyle(it).color") == "rgb(200, 0, 0)"


def test_logged_code_does_not_run(server: Server, stranger: Page, tmp_path: Path) -> None:
    """Neither in a page, nor in a caption, a key or a text; the browser says that it was blocked."""
    blocked: list[str] = []
    stranger.on("console", lambda message: blocked.append(message.text))
    command = [sys.executable, "-c", textwrap.dedent(HOSTILE), server.url, server.key]
    run_id, finished = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert finished == "True"
    stranger.goto(server.link())
    stranger.wait_for_url(f"{server.url}/#/")

    stranger.goto(f"{server.url}/#/runs/{run_id}?tab=media")
    frame = section(stranger, "hostile").locator("iframe")
    frame.scroll_into_view_if_needed()
    expect(frame.content_frame.get_by_text("Page")).to_be_visible()
    expect(stranger.locator("pre.words")).to_contain_text("<script>")

    assert frame.content_frame.get_by_text("it ran").count() == 0
    assert stranger.evaluate("window.bad") is None
    assert any("Blocked script execution" in line for line in blocked)


def test_boxes_and_masks_lie_over_the_picture(server: Server, page: Page, logging: Logging) -> None:
    """A box is where it was logged, a mask has its colours, and each group can be switched off."""
    open_tab(page, server, logging, "tab=media")
    found = section(page, "val/found")
    picture = found.locator("img")
    loaded(picture)
    boxes = found.locator(".box")
    expect(boxes).to_have_count(2)
    whole, box = picture.bounding_box(), boxes.first.bounding_box()
    assert whole is not None and box is not None
    assert (box["x"] - whole["x"]) / whole["width"] == pytest.approx(30 / 160, abs=0.02)
    assert box["height"] / whole["height"] == pytest.approx(60 / 120, abs=0.02)
    expect(boxes.nth(1)).to_contain_text("disc 0.8300")
    page.wait_for_function("document.querySelector('.mask').width === 160")
    alpha = found.locator(".mask").evaluate(
        "it => [[60, 50], [150, 10], [10, 110]].map(([x, y]) => it.getContext('2d').getImageData(x, y, 1, 1).data[3])"
    )
    assert alpha[0] > 0 and alpha[1] == 0 and alpha[2] > 0
    expect(found.locator(".legend")).to_have_text("discfloor")

    found.get_by_label("guess").uncheck()
    expect(boxes).to_have_count(1)
    found.get_by_label("parts").uncheck()
    expect(found.locator(".mask")).to_have_count(0)


def test_slider_moves_all_keys_to_a_step(server: Server, page: Page, logging: Logging) -> None:
    """One slider for all; the step is in the address, and a key shows what it had by then."""
    open_tab(page, server, logging, "tab=media")
    step = section(page, "val/samples").locator("output")
    expect(step).to_have_text("20")

    page.get_by_role("button", name="Earlier step").click()
    expect(step).to_have_text("10")
    expect(section(page, "weights").locator("output")).to_have_text("10")
    expect(section(page, "val/samples").locator("figcaption").first).to_have_text("sample 0 of step 10")
    assert "at=10" in page.url

    page.get_by_label("Step", exact=True).press("Home")
    expect(step).to_have_text("0")
    page.reload()
    expect(step).to_have_text("0")


def test_picture_opens_large(server: Server, page: Page, logging: Logging) -> None:
    """A click shows it as large as it is, with its size; Escape closes it."""
    open_tab(page, server, logging, "tab=media")
    section(page, "val/samples").locator("button.picture").first.click()

    dialog = page.locator("dialog.enlarged")
    expect(dialog).to_contain_text("160 \u00d7 120")
    loaded(dialog.locator("img"))
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_pictures_of_two_steps_are_swiped(server: Server, page: Page, logging: Logging) -> None:
    """That of another step lies over the large one, and a slider says how much of it is seen."""
    open_tab(page, server, logging, "tab=media")
    section(page, "val/samples").locator("button.picture").first.click()
    dialog = page.locator("dialog.enlarged")
    expect(dialog.locator("img")).to_have_count(1)

    dialog.get_by_label("Beside the same picture at step").select_option(label="step 10")
    expect(dialog.locator("img")).to_have_count(2)
    loaded(dialog.locator(".over img"))
    dialog.get_by_label("Where one picture ends and the other begins").press("End")
    expect(dialog.locator(".over")).to_have_css("clip-path", "inset(0px 0px 0px 100%)")
    below, above = (dialog.locator("img").nth(place).bounding_box() for place in (0, 1))
    assert below == above


def test_filter_finds_keys(server: Server, page: Page, logging: Logging) -> None:
    """Only the keys with the words in them stay."""
    open_tab(page, server, logging, "tab=media")
    page.get_by_label("Filter keys").fill("VAL/")

    expect(page.locator(".media-key")).to_have_count(2)


def test_new_pictures_come_by_themselves(server: Server, page: Page, logging: Logging) -> None:
    """What is logged while one looks is shown; one who looks at an older step stays there."""
    open_tab(page, server, logging, "tab=media")
    step = section(page, "val/samples").locator("output")
    expect(step).to_be_visible()
    logging.log(30)
    expect(step).to_have_text("30")
    expect(section(page, "val/samples").locator("figcaption")).to_have_text("late 30")

    page.get_by_role("button", name="Earlier step").click()
    expect(step).to_have_text("20")
    logging.log(40)
    expect(section(page, "val/samples").locator("h2")).to_contain_text("11 items")
    expect(step).to_have_text("20")


def test_table_is_sorted_filtered_and_paged(server: Server, page: Page, logging: Logging) -> None:
    """A click on a column sorts it as numbers, empty cells last; a filter finds rows; a page has a hundred."""
    open_tab(page, server, logging, "tab=tables")
    rows = page.locator(".cells tbody tr")
    expect(rows).to_have_count(100)
    expect(page.locator(".table-line")).to_contain_text("251 rows")
    expect(page.get_by_role("heading", name="validation")).to_be_visible()
    expect(page.locator(".cells th .spread")).to_have_count(2)
    screenshot(page, "tables")

    page.get_by_role("button", name="score").click()
    expect(rows.first.locator("td").nth(2)).to_have_text("0")
    page.get_by_role("button", name="score").click()
    expect(rows.first.locator("td").nth(2)).to_have_text("0.9960")
    page.get_by_role("button", name="Next page").click()
    page.get_by_role("button", name="Next page").click()
    expect(rows).to_have_count(51)
    expect(rows.nth(49).locator("td").nth(2)).to_have_text("\u2013")
    expect(rows.nth(50).locator("td").nth(2)).to_have_text("NaN")
    page.reload()
    expect(rows).to_have_count(51)
    expect(rows.nth(50).locator("td").nth(2)).to_have_text("NaN")

    page.get_by_label("Filter rows").fill("not bold")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("<b>not bold</b>")


def test_pictures_in_a_table(server: Server, page: Page, logging: Logging) -> None:
    """They are drawn in their cells from the table's own file."""
    open_tab(page, server, logging, "tab=tables")
    canvas = page.locator(".cell-picture canvas")
    expect(canvas).to_have_count(3)

    page.wait_for_function("document.querySelector('.cell-picture canvas').width === 8")
    shown = canvas.first.evaluate("it => [...it.getContext('2d').getImageData(0, 0, 8, 8).data]")
    assert np.array(shown).reshape(8, 8, 4)[:, :, 0].tolist() == (np.eye(8) * 255).tolist()


def test_what_is_framed_may_only_be_framed_by_the_page(server: Server, logging: Logging) -> None:
    """One policy for each answer: a logged page may stand in ours and nowhere else."""
    headers = {"authorization": f"Bearer {server.key}"}
    listed = requests.get(
        f"{server.url}/api/v1/runs/{logging.run_id}/media?key=report", headers=headers, timeout=20
    ).json()
    answer = requests.get(server.url + listed["items"][0]["url"], headers=headers, timeout=20)

    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert "default-src 'self'" not in answer.headers["content-security-policy"]
