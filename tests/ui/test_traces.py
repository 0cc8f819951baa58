"""Traces of a run: the list, the waterfall, and what is known of one span."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import rundial as rd
from rundial.events import Span
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser

MS = 1_000_000
BEGAN_NS = time.time_ns()


def span(trace: int, number: int, parent: int | None, name: str, start: int, length: int, **fields: Any) -> Span:
    """A span ``start`` ms after its trace's start, ``length`` ms long. Trace n begins n seconds after the tests."""
    begin = BEGAN_NS + trace * 10**9 + start * MS
    parent_id = None if parent is None else f"{parent:016x}"
    kind, status = fields.pop("kind", "internal"), fields.pop("status", "ok")
    return Span(
        f"{trace:032x}", f"{number:016x}", parent_id, name, kind, begin, begin + length * MS, status=status, **fields
    )


def agent(server: Server) -> LoggedRun:
    """A run of an agent with two traces, the newer one with an error in it."""
    run = LoggedRun(server, "agents", kind="agent")
    run.send(
        span(1, 1, None, "quick answer", 0, 40),
        span(
            2, 11, 10, "plan", 5, 120, kind="client",
            model="m-1", system="openai", tokens_in=120, tokens_out=40, cost_usd=0.002,
        ),
        span(
            2, 12, 10, "tool:search", 130, 250, kind="tool", status="error", message="TimeoutError: no answer",
            attrs={"tool.name": "search", "tool.input": {"q": "Ada Lovelace", "top": 3}},
            events=[("exception", BEGAN_NS + 2 * 10**9 + 380 * MS, {"type": "TimeoutError", "stack": "File agent.py"})],
        ),
        span(2, 13, 12, "retry", 300, 60),
        span(2, 10, None, "agent", 0, 400, attrs={"question": "Who was Ada Lovelace?" * 20}),
    )  # fmt: skip
    return run


def open_traces(page: Page, server: Server, run_id: str, query: str = "") -> None:
    page.goto(f"{server.url}/#/runs/{run_id}?tab=traces{query}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_list_shows_the_sums(server: Server, page: Page) -> None:
    """Newest first, with duration, spans, errors, tokens and cost."""
    open_traces(page, server, agent(server).run_id)
    rows = page.locator(".trace-row")

    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("agent")
    expect(rows.nth(0)).to_contain_text("400 ms")
    expect(rows.nth(0)).to_contain_text("✕ 1 error · 4 spans · 120 → 40 tokens · $0.002")
    expect(rows.nth(1)).to_contain_text("quick answer")


def test_waterfall_nests_spans_on_a_time_axis(server: Server, page: Page) -> None:
    """Children stand indented below their parents; a bar begins where the span began."""
    open_traces(page, server, agent(server).run_id)
    page.locator(".trace-row").first.click()
    rows = page.get_by_role("treeitem")

    expect(rows).to_have_count(4)
    assert [row.get_attribute("aria-level") for row in rows.all()] == ["1", "2", "2", "3"]
    expect(rows.nth(2)).to_contain_text("✕tool:search250 ms")
    lane = rows.nth(2).locator(".lane").bounding_box()
    bar = rows.nth(2).locator("i.kind").bounding_box()
    assert lane is not None
    assert bar is not None
    assert abs((bar["x"] - lane["x"]) / lane["width"] - 130 / 400) < 0.01
    assert abs(bar["width"] / lane["width"] - 250 / 400) < 0.01


def test_span_shows_what_is_known_of_it(server: Server, page: Page) -> None:
    """Attributes as JSON, the exception with its stack, model, tokens and cost; the address keeps the choice."""
    run = agent(server)
    open_traces(page, server, run.run_id)
    page.locator(".trace-row").first.click()
    panel = page.get_by_label("span", exact=True)
    expect(panel).to_contain_text("Who was Ada Lovelace?")

    page.get_by_role("treeitem", name="tool:search").click()
    expect(panel).to_contain_text("TimeoutError: no answer")
    expect(panel.locator("pre").first).to_contain_text('"q": "Ada Lovelace"')
    expect(panel.locator(".span-events")).to_contain_text("File agent.py")
    page.get_by_role("treeitem", name="plan").click()
    expect(panel).to_contain_text("openai · m-1")
    expect(panel).to_contain_text("120 in, 40 out")
    page.reload()

    expect(panel.get_by_role("heading", level=2)).to_have_text("plan")


def test_keys_move_and_fold(server: Server, page: Page) -> None:
    """Arrows go from span to span; left folds what is below."""
    open_traces(page, server, agent(server).run_id, f"&trace={2:032x}")
    tree = page.get_by_role("tree")
    tree.focus()

    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator('[role=treeitem][aria-selected="true"]')).to_contain_text("tool:search")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("treeitem")).to_have_count(3)
    expect(page.get_by_role("treeitem", name="tool:search")).to_contain_text("+1")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("treeitem")).to_have_count(4)


def test_list_is_filtered(server: Server, page: Page) -> None:
    """By a word in the name of any span, and to those with errors."""
    open_traces(page, server, agent(server).run_id)
    rows = page.locator(".trace-row")

    page.get_by_label("find in names").fill("QUICK")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("quick answer")
    page.get_by_label("find in names").fill("search")
    expect(rows).to_contain_text("agent")
    page.get_by_label("find in names").fill("nowhere")
    expect(page.get_by_text("No trace matches.")).to_be_visible()
    page.get_by_label("find in names").fill("")
    expect(rows).to_have_count(2)
    page.get_by_label("errors only").check()
    expect(rows).to_have_count(1)
    assert "errors=1" in page.url


def test_open_trace_grows_and_new_ones_wait(server: Server, page: Page) -> None:
    """A span that arrives extends the open trace at once; a new trace moves nothing until it is asked for."""
    run = agent(server)
    open_traces(page, server, run.run_id, f"&trace={2:032x}")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    expect(page.get_by_role("treeitem")).to_have_count(4)

    run.send(span(2, 14, 10, "answer", 380, 200), span(3, 1, None, "third", 0, 10))

    expect(page.get_by_role("treeitem")).to_have_count(5)
    expect(page.locator(".trace-row").first).to_contain_text("5 spans")
    page.get_by_role("button", name="1 new trace").click()
    expect(page.locator(".trace-row").first).to_contain_text("third")
    expect(page.locator(".trace-row")).to_have_count(3)


def test_large_value_is_downloaded(server: Server, page: Page) -> None:
    """What lies in the artifact store shows how it begins, and is given out as it was."""
    prompt = "It begins. " * 3000
    run = rd.init(project="agents", endpoint=server.url, api_key=server.key, quiet=True)
    span = run.trace("large", attrs={"prompt": prompt})
    span.finish()
    assert run.finish(20)
    open_traces(page, server, run.run_id, f"&trace={span.trace_id}")
    panel = page.get_by_label("span", exact=True)

    expect(panel).to_contain_text("It begins. It begins.")
    with page.expect_download() as download:
        panel.get_by_role("button", name="download 33 kB").click()

    assert download.value.path().read_text() == prompt
    assert download.value.suggested_filename == "prompt.txt"


def test_large_value_that_is_not_there_is_told(server: Server, page: Page) -> None:
    """One that has not arrived in the store yet, and one that never will."""
    run = LoggedRun(server, "agents")
    reference = {"artifact": "trace-evidence-x", "path": "evidence/a.txt", "key": "a", "sizeBytes": 20_000}
    stored = {"kind": "rundial.evidence_ref", "contentType": "text/plain", "preview": "It begins", **reference}
    lost = {"kind": "rundial.evidence_marker", "contentType": "text/plain", "status": "dropped", **reference}
    run.send(span(1, 1, None, "large", 0, 10, attrs={"prompt": stored, "answer": lost}))
    open_traces(page, server, run.run_id, f"&trace={1:032x}")
    panel = page.get_by_label("span", exact=True)

    panel.get_by_role("button", name="download 20 kB").click()

    expect(panel.get_by_role("alert")).to_have_text("It has not arrived yet.")
    expect(panel).to_contain_text("20 kB dropped")


def test_markup_in_a_span_is_text(server: Server, page: Page) -> None:
    """Whatever a model wrote, the page runs none of it."""
    run = LoggedRun(server, "agents")
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    run.send(span(1, 1, None, evil, 0, 10, attrs={evil: evil, "long": f"{evil}\n" * 10}, message=evil))
    open_traces(page, server, run.run_id, f"&trace={1:032x}")

    expect(page.get_by_label("span", exact=True).get_by_role("heading", level=2)).to_have_text(evil)
    expect(page.locator(".span-panel img, .span-panel script, .trace-list img")).to_have_count(0)


def test_ten_thousand_spans(server: Server, page: Page) -> None:
    """A long trace shows the lines one can see, and says when there are more than it is given."""
    run = LoggedRun(server, "agents")
    for first in range(0, 10_200, 300):
        run.send(*(span(1, n + 1, 1 if n else None, f"step {n}", n, 1) for n in range(first, first + 300)))
    open_traces(page, server, run.run_id, f"&trace={1:032x}")

    expect(page.get_by_text("The first 10,000 of 10,200 spans are shown.")).to_be_visible()
    assert page.get_by_role("treeitem").count() < 100
    page.get_by_role("tree").evaluate("tree => tree.scrollTop = tree.scrollHeight")
    expect(page.get_by_role("treeitem", name="step 9999")).to_be_visible()


def test_without_traces_the_page_says_how(server: Server, page: Page) -> None:
    """Never a blank."""
    open_traces(page, server, LoggedRun(server, "agents").run_id)

    expect(page.get_by_text("No traces yet.")).to_be_visible()
    expect(page.locator("code")).to_contain_text("run.trace(")


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "dark"), (390, 844, "light")])
def test_looks(server: Server, page: Page, width: int, height: int, scheme: Any) -> None:
    """Nothing is wider than the window, in either theme; the pictures are there to be looked at."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    open_traces(page, server, agent(server).run_id, f"&trace={2:032x}&span={12:016x}")
    expect(page.get_by_label("span", exact=True)).to_contain_text(re.compile("TimeoutError"))
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"traces-{width}-{scheme}.png")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
