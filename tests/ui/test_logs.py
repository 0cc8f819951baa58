"""The log and the machine of one run, while it writes."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Locator, Page, expect

from rundial.events import LogLine, Metrics
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server, until

pytestmark = pytest.mark.browser


def line(message: str, level: str = "info", source: str = "stdout", truncated: bool = False) -> LogLine:
    return LogLine(time.time_ns(), level, message, source, truncated)


def open_log(page: Page, server: Server, run: LoggedRun, query: str = "") -> Locator:
    """The log's lines, once there is one."""
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=logs{query}")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    lines = page.locator(".logs .line")
    expect(lines.first).to_be_visible()
    return lines


def test_lines_arrive_while_one_looks(server: Server, page: Page) -> None:
    """New lines are added at the end, and the view stays there."""
    run = LoggedRun(server, "live")
    run.send(*(line(f"epoch {i}") for i in range(100)))
    lines = open_log(page, server, run)
    expect(lines.last).to_contain_text("epoch 99")

    run.send(line("it goes on", "warn"))

    expect(lines.last).to_contain_text("it goes on")
    expect(lines.last).to_be_in_viewport()
    expect(page.get_by_role("status")).to_have_text("101 lines")


def test_scrolling_up_lets_go_of_the_end(server: Server, page: Page) -> None:
    """What one reads stays where it is while lines come; follow goes back to the end."""
    run = LoggedRun(server, "live")
    run.send(*(line(f"epoch {i}") for i in range(500)))
    lines = open_log(page, server, run)
    expect(lines.last).to_contain_text("epoch 499")
    follow = page.get_by_label("follow")
    expect(follow).to_be_checked()

    page.get_by_role("log").evaluate("box => { box.scrollTop = 3600 }")
    expect(follow).not_to_be_checked()
    read = page.get_by_text("epoch 205", exact=True)
    place = read.bounding_box()
    run.send(*(line(f"new {i}") for i in range(50)))
    expect(page.get_by_role("status")).to_have_text("550 lines")
    assert read.bounding_box() == place

    follow.check()
    expect(page.get_by_text("new 49", exact=True)).to_be_in_viewport()


def test_a_hundred_thousand_lines(server: Server, page: Page) -> None:
    """Few are in the document; older ones come as one scrolls up to them; the beginning is one click away."""
    run = LoggedRun(server, "long")
    for first in range(0, 100_000, 2_000):
        run.send(*(line(f"row {i} of a long training, loss 0.{i:06}") for i in range(first, first + 2_000)))
    lines = open_log(page, server, run)
    expect(lines.last).to_contain_text("row 99999 ")
    box = page.get_by_role("log")

    for pages in range(2, 12):
        box.evaluate("box => { box.scrollTop = 0 }")
        expect(page.get_by_role("status")).to_have_text(re.compile(rf"^({pages},000|{pages + 1},000)\+ lines"))
    assert lines.count() < 300

    page.get_by_role("button", name="start").click()
    expect(page.get_by_text("row 0 of", exact=False).first).to_be_in_viewport()
    box.evaluate("box => { box.scrollTop = box.scrollHeight }")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^[23],000\+ lines"))
    page.get_by_role("button", name="end").click()
    expect(page.get_by_text("row 99999 of", exact=False)).to_be_in_viewport()


def test_older_lines_do_not_move_what_is_read(server: Server, page: Page) -> None:
    """A page put in front of the first line leaves the screen as it was."""
    run = LoggedRun(server, "older")
    for first in range(0, 4_000, 1_000):
        run.send(*(line(f"row {i}") for i in range(first, first + 1_000)))
    open_log(page, server, run)

    page.get_by_role("log").evaluate("box => { box.scrollTop = 900 }")

    expect(page.get_by_role("status")).to_have_text(re.compile(r"^[234],000"))
    expect(page.get_by_text("row 3052", exact=True)).to_be_in_viewport()


def test_level_and_search(server: Server, page: Page) -> None:
    """Both are in the address; what was searched for is marked; new lines are searched, too."""
    run = LoggedRun(server, "searched")
    run.send(*(line(f"step {i} loss", "error" if i % 10 == 0 else "info") for i in range(100)))
    lines = open_log(page, server, run)

    page.get_by_label("level").select_option("error")
    expect(page.get_by_role("status")).to_have_text("10 matches")
    page.keyboard.press("/")
    page.keyboard.type("Step 9")
    expect(page.get_by_role("status")).to_have_text("1 match")
    expect(lines.locator("mark")).to_have_text("step 9")
    assert "level=error" in page.url
    assert "q=Step+9" in page.url

    run.send(line("step 9 again", "fatal"), line("step 9 but no matter"))
    expect(page.get_by_role("status")).to_have_text("2 matches")
    page.get_by_label("Search the log").fill("nothing like it")
    expect(page.get_by_text("No line matches.")).to_be_visible()


def test_colours_and_hostile_text(server: Server, page: Page) -> None:
    """SGR becomes colours, other escapes vanish, markup is text."""
    run = LoggedRun(server, "colours")
    run.send(
        line("\x1b[1;31mred\x1b[0m plain \x1b[38;2;1;2;3mexact\x1b[m \x1b[38;5;196mcube\x1b[39m"),
        line("\x1b]0;title\x07\x1b[2K\x1b[Adone", "warn"),
        line("<img src=x onerror=alert(1)>", "error", "<b>logger</b>", truncated=True),
    )
    lines = open_log(page, server, run)

    expect(lines.nth(0).locator(".message")).to_have_text("red plain exact cube")
    expect(lines.nth(0).locator(".ansi-bold.ansi-fg-red")).to_have_text("red")
    expect(lines.nth(0).get_by_text("exact")).to_have_css("color", "rgb(1, 2, 3)")
    expect(lines.nth(0).get_by_text("cube")).to_have_css("color", "rgb(255, 0, 0)")
    expect(lines.nth(1).locator(".message")).to_have_text("done")
    expect(lines.nth(2).locator(".message")).to_have_text("<img src=x onerror=alert(1)> …")
    assert lines.nth(2).locator("img").count() == 0


def test_wrapped_lines_are_whole(server: Server, page: Page) -> None:
    """A long line takes the room it needs, and the last one is still the last on the screen."""
    run = LoggedRun(server, "wrapped")
    run.send(*(line(f"{i} " + "word " * (300 if i % 3 == 0 else 3)) for i in range(300)), line("the end"))
    lines = open_log(page, server, run)

    page.get_by_label("wrap").check()

    expect(lines.last).to_contain_text("the end")
    expect(lines.last).to_be_in_viewport()
    assert page.get_by_role("log").evaluate("box => box.scrollWidth <= box.clientWidth")
    boxes = [lines.nth(i).bounding_box() for i in range(lines.count())]
    assert max(box["height"] for box in boxes if box) > 60
    page.get_by_role("log").evaluate("box => { box.scrollTop = 0 }")
    expect(lines.first).to_contain_text("0 word")


def test_times(server: Server, page: Page) -> None:
    """By the clock, since the start of the run, or not at all."""
    run = LoggedRun(server, "times")
    run.send(line("hello"))
    lines = open_log(page, server, run)

    expect(lines.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
    page.get_by_label("time").select_option("since start")
    expect(lines.locator("time")).to_have_text(re.compile(r"^\d\.\d{3}$"))
    page.get_by_label("time").select_option("none")
    expect(lines.locator("time")).to_have_count(0)


def test_a_run_without_lines_says_how_to_write_one(server: Server, page: Page) -> None:
    """Never a blank."""
    run = LoggedRun(server, "silent")
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=logs")

    expect(page.locator(".logs .empty")).to_contain_text("capture_console=True")


def test_looks(server: Server, page: Page) -> None:
    """A picture to look at."""
    run = LoggedRun(server, "looks", "brave-dial-12").log(range(5), train__loss=1.0)
    levels = ["info"] * 6 + ["debug", "warn", "error"]
    run.send(
        *(
            line(f"\x1b[32mepoch {i // 10}\x1b[0m step {i} loss \x1b[1m{1 / (i + 1):.4f}\x1b[0m", levels[i * 7 % 9])
            for i in range(300)
        ),
        line("Traceback (most recent call last):", "error", "stderr"),
        line("ValueError: no such column", "fatal", "stderr"),
    )
    open_log(page, server, run)
    SCREENSHOTS.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.screenshot(path=SCREENSHOTS / f"logs-{scheme}.png")
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_text("ValueError: no such column")).to_be_in_viewport()
    page.screenshot(path=SCREENSHOTS / "logs-phone.png")


def test_system_metrics_have_a_tab_of_their_own(server: Server, page: Page) -> None:
    """Over the time since the start; the charts tab is left to the run's own metrics."""
    run = LoggedRun(server, "machine").log(range(10), train__loss=1.0)
    now = time.time_ns()
    for i in range(12):
        moment = now + i * 10**10
        values = {"system/cpu.percent": 40.0 + i, "system/gpu.0.util": 90.0 - i, "system/memory.percent": 30.0}
        run.send(Metrics(moment, moment // 10**9, values))
    page.goto(f"{server.url}/#/runs/{run.run_id}")
    expect(page.locator(".plot")).to_have_count(1)

    page.get_by_role("button", name="System").click()

    expect(page.locator(".plot")).to_have_count(3)
    cpu = page.locator('.plot[data-metric="system/cpu.percent"]')
    expect(cpu).to_have_attribute("data-points", "12")
    run.send(Metrics(now + 13 * 10**10, now // 10**9 + 130, {"system/cpu.percent": 99.0}))
    expect(cpu).to_have_attribute("data-last", "99")
    expect(page.locator(".run-line")).to_contain_text("step 9")

    def pointed_at() -> str:
        area = cpu.locator(".u-over").bounding_box()
        assert area is not None
        page.mouse.move(2, 2)  # axes do not move under the pointer, only when it is away
        page.wait_for_timeout(200)
        page.mouse.move(area["x"] + area["width"] * 0.99, area["y"] + 40)
        return page.locator(".chart .value").first.text_content() or ""

    until(page, lambda: "2m" in pointed_at())
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "system.png")
    page.get_by_role("button", name="Charts").click()
    expect(page.locator('.plot[data-metric="train/loss"]')).to_have_attribute("data-points", "10")
