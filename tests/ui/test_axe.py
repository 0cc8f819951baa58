"""Every view, in light and dark, at a desk and on a phone: axe-core finds nothing, and nothing sticks out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rundial.events import Dial, EvalResult, EvalStart, LogLine, Marker, Metrics, RunUpdate, Span
from tests.server.uploader import upload
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server
from tests.ui.test_artifacts import Api
from tests.ui.test_code import GIT, PATCH
from tests.ui.test_compare import PNG, packed

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {"light": {"width": 1440, "height": 900}, "dark": {"width": 375, "height": 812}}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
PROJECT = "p/default-workspace/axe"
TRACE = "0" * 31 + "1"
TABS = (
    *("overview", "charts", "system", "logs", "dials", "media", "tables", "artifacts", "traces", "evals"),
    *("code", "events", "delivery"),
)
COMPARED = ("differences", "charts", "parallel", "scatter", "media", "code")
SPACE = {"lr": {"values": [1, 2]}, "width": {"min": 1, "max": 9}}
SETTINGS = ("account", "members", "agents", "audit")


@pytest.fixture(scope="module")
def views(server: Server) -> dict[str, str]:
    """A project that has something of everything, and the address of each view of it."""
    runs = [
        LoggedRun(server, "axe", name, config={"lr": lr, "_wandb": {"sweep": "s1"}})
        for name, lr in (("a", 1), ("b", 2))
    ]
    model = ""
    for run in runs:
        now = time.time_ns()
        run.send(
            *(Metrics(now, step, {"train/loss": 1 / (step + 1), "system/cpu": 50.0}) for step in range(5)),
            LogLine(now, "error", "\x1b[31mred\x1b[0m and \x1b[33myellow\x1b[0m"),
            LogLine(now, "info", "plain"),
            Marker(now, "alert", "loss is high", 3, {"level": "warn", "text": "1.0"}),
            RunUpdate(now, environment={"git": GIT, "packages": {"torch": "2.13.0"}}),
            RunUpdate(now, sweep={"id": "s1", "name": "search", "config": {"method": "grid", "parameters": SPACE}}),
            *spans(now),
            Dial(now, "lr", "float", 0.0, 1.0, 0.1, None, "1/step", "learning rate", 0.5),
            Dial(now, "stop", "action"),
            EvalStart(now, f"evl_{run.run_id[4:]}", "questions", {"name": "squad"}, [{"name": "exact"}]),
            *(EvalResult(now, f"evl_{run.run_id[4:]}", f"q{n}", "exact", n / 2, n > 1) for n in range(3)),
        )
        files = {"m.pt": b"\0" * 99, "a/c.json": b'{"a": [1]}', "a/t.csv": b"x,y\n1,2\n", "n.py": run.run_id.encode()}
        made = upload(Api(server), run.run_id, files | {"p.png": PNG}, name="net", aliases=["best"])
        model, before = made["artifact"]["artifactId"], model
        upload(Api(server), run.run_id, {"git.patch": PATCH.encode()}, name="patch", artifactType="code")
        upload(
            Api(server),
            run.run_id,
            {"code.zip": packed({"a.py": "x = 1\n", "b.py": run.run_id})},
            name="code",
            artifactType="code",
        )
        table = json.dumps({"columns": ["id", "score"], "rows": [["a", 0.9], ["b", 0.5]]}).encode()
        media = {"key": "predictions", "step": 1, "mediaType": "table", "caption": "two", "timeMs": 1}
        upload(Api(server), run.run_id, {"t.json": table}, name="media", media=media)
        media = {"key": "sample", "step": 1, "mediaType": "image", "caption": "one", "timeMs": 1}
        upload(Api(server), run.run_id, {"a.png": PNG}, name="media", media=media)
    gone = LoggedRun(server, "axe", "gone")
    gone.end()
    server.post("/api/v1/runs/delete", json={"runIds": [gone.run_id]})
    workspace = "/api/v1/workspaces/default-workspace"
    server.post(f"{workspace}/projects/axe/api-keys", json={"scopes": ["project:read"], "label": "ci"})
    server.post(f"{workspace}/users", json={"email": "ann@example.org"})
    server.post(f"{workspace}/agents", json={"name": "night shift"})
    both = ",".join(run.run_id for run in runs)
    found = {"projects": "", "runs": PROJECT, "empty": "p/default-workspace/default-project", "nowhere": "nowhere"}
    found |= {name: f"{PROJECT}/{name}" for name in ("media", "alerts", "sweeps", "evals", "settings")}
    found |= {f"run-{tab}": f"runs/{runs[0].run_id}?tab={tab}" for tab in TABS}
    found |= {
        "run-artifact": f"runs/{runs[1].run_id}?tab=artifacts&artifact={model}",
        "run-artifact-compared": f"runs/{runs[1].run_id}?tab=artifacts&artifact={model}&against={before}&content=n.py",
        "media-rows": f"{PROJECT}/media?as=rows",
        "run-trace": f"runs/{runs[0].run_id}?tab=traces&trace={TRACE}",
        "run-file": f"runs/{runs[0].run_id}?tab=code&file=a.py",
        "run-environment": f"runs/{runs[0].run_id}?tab=code&file=/environment",
        "table": f"{PROJECT}?charts=0&by=status",
    }
    found |= {
        f"run-artifact-{path[-3:]}": f"runs/{runs[1].run_id}?tab=artifacts&artifact={model}&content={path}"
        for path in ("m.pt", "a/c.json", "a/t.csv", "p.png")
    }
    found |= {f"compare-{tab}": f"{PROJECT}/compare?runs={both}&tab={tab}" for tab in COMPARED}
    found |= {f"settings-{tab}": f"settings?tab={tab}" for tab in SETTINGS}
    return found


def spans(now: int) -> Iterator[Span]:
    """A trace of two spans, one of a model."""
    yield Span(TRACE, "1" * 16, None, "answer", "internal", now, now + 2_000_000, "ok")
    attrs = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 10}
    yield Span(TRACE, "2" * 16, "1" * 16, "ask", "client", now, now + 1_000_000, "error", "no answer", attrs)


def complaints(page: Page) -> list[str]:
    """What axe finds, a line each: rule, element, what is wrong."""
    found: list[dict[str, Any]] = page.evaluate(
        "rules => axe.run(document, { runOnly: rules, resultTypes: ['violations'] }).then(it => it.violations)", RULES
    )
    return [
        f"{rule['id']}: {node['html'][:120]} {(node.get('any') or [{}])[0].get('message', '')}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("theme", SIZES)
def test_nothing_is_in_the_way_of_anybody(server: Server, browser: Browser, views: dict[str, str], theme: str) -> None:
    """WCAG 2.1 A and AA, light at a desk and dark on a phone of 375 pixels; a picture of each to look at."""
    page = browser.new_page(viewport=SIZES[theme], color_scheme=theme, bypass_csp=True, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    page.add_script_tag(path=AXE)
    SCREENSHOTS.mkdir(exist_ok=True)
    wrong: dict[str, list[str]] = {}
    for name, address in views.items():
        page.goto(f"{server.url}/#/{address}")
        expect(page.get_by_text("Loading")).to_have_count(0)
        page.wait_for_timeout(50)  # for what is drawn after its data has come
        page.screenshot(path=SCREENSHOTS / f"axe-{name}-{theme}.png")
        found = complaints(page)
        if page.evaluate("document.documentElement.scrollWidth") > SIZES[theme]["width"]:
            found.append("wider than the window")
        if found:
            wrong[name] = found
    page.close()
    assert wrong == {}, "\n".join(f"{name}\n  " + "\n  ".join(found) for name, found in wrong.items())
