"""The dials of one run: turned in the page, obeyed by the run, seen on the charts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from rundial.events import Ack, Dial
from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser

OFFER = (
    Dial(1, "lr", "float", 1e-5, 1.0, None, None, "1/step", "learning rate", 0.1),
    Dial(1, "batch size", "int", 1, 512, None, None, None, None, 32),
    Dial(1, "augment", "bool", description="random crops", value=True),
    Dial(1, "optimizer", "choice", choices=["adam", "sgd", "lion"], value="adam"),
    Dial(1, "prompt", "text", description="for the samples", value="a cat"),
    Dial(1, "save a checkpoint", "action"),
)


def open_dials(page: Page, server: Server, run_id: str) -> None:
    page.goto(f"{server.url}/#/runs/{run_id}?tab=dials")
    expect(page.locator(".dial").first).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()


def dial(page: Page, name: str) -> Locator:
    return page.locator(f'.dial[data-dial="{name}"]')


def newest(server: Server, run: LoggedRun) -> dict[str, object]:
    import requests

    headers = {"authorization": f"Bearer {server.key}"}
    answer = requests.get(f"{server.url}/api/v1/runs/{run.run_id}/commands", headers=headers, timeout=20)
    return dict(answer.json()["commands"][0])


def answer(server: Server, run: LoggedRun, status: str = "applied", former: float | str | None = None) -> None:
    """What the run says of the newest command."""
    command = newest(server, run)
    error = None if status == "applied" else "the job said no"
    run.send(
        Ack(time.time_ns(), str(command["commandId"]), str(command["name"]), status, command["value"], former, error)
    )  # type: ignore[arg-type]


def test_each_kind_has_its_control(server: Server, page: Page) -> None:
    """Each sends what it is set to, and shows what becomes of it."""
    run = LoggedRun(server, "dials")
    run.send(*OFFER)
    open_dials(page, server, run.run_id)

    number = dial(page, "lr").get_by_label("lr", exact=True)
    expect(number).to_have_value("0.1")
    number.fill("0.02")
    number.press("Enter")
    expect(dial(page, "lr")).to_contain_text("→ 0.02 on its way")
    run.log(range(1), loss=1.0)
    expect(dial(page, "lr")).to_contain_text("→ 0.02 waits for the next step")
    answer(server, run, former=0.1)
    expect(dial(page, "lr")).to_contain_text("0.1 → 0.02 by owner")
    expect(number).to_have_value("0.02")

    dial(page, "augment").get_by_role("switch").click()
    expect(dial(page, "augment")).to_contain_text("→ off on its way")
    expect(dial(page, "augment").get_by_role("switch")).to_be_checked()
    answer(server, run)
    expect(dial(page, "augment").get_by_role("switch")).not_to_be_checked()

    dial(page, "optimizer").get_by_role("combobox").select_option("sgd")
    expect(dial(page, "optimizer")).to_contain_text("→ sgd")
    answer(server, run, "rejected")
    expect(dial(page, "optimizer")).to_contain_text("rejected: the job said no")
    expect(dial(page, "optimizer").get_by_role("combobox")).to_have_value("0")

    dial(page, "prompt").get_by_role("textbox").fill("<img src=x onerror=alert(1)>")
    dial(page, "prompt").get_by_role("button", name="set").click()
    expect(dial(page, "prompt")).to_contain_text("on its way")
    answer(server, run)
    expect(page.locator(".dials img")).to_have_count(0)
    expect(dial(page, "prompt").get_by_role("textbox")).to_have_value("<img src=x onerror=alert(1)>")

    dial(page, "save a checkpoint").get_by_role("button").click()
    expect(dial(page, "save a checkpoint")).to_contain_text("on its way")
    answer(server, run)
    expect(dial(page, "save a checkpoint")).to_contain_text("done by owner")


def test_a_slider_sends_when_it_is_let_go(server: Server, page: Page) -> None:
    """By the keyboard, too; over orders of magnitude it is logarithmic."""
    run = LoggedRun(server, "dials")
    run.send(*OFFER)
    open_dials(page, server, run.run_id)
    slider = dial(page, "lr").get_by_label("lr, slider")

    slider.press("End")

    expect(dial(page, "lr")).to_contain_text("→ 1 on its way")
    assert newest(server, run)["value"] == 1.0
    slider.press("Home")
    expect(dial(page, "lr")).to_contain_text("→ 0.00001")
    dial(page, "batch size").get_by_label("batch size, slider").press("ArrowRight")
    expect(dial(page, "batch size")).to_contain_text("→ 33")


def test_what_the_dial_does_not_take_is_not_sent(server: Server, page: Page) -> None:
    """The control says so, and goes back to what is."""
    run = LoggedRun(server, "dials")
    run.send(*OFFER)
    open_dials(page, server, run.run_id)
    number = dial(page, "lr").get_by_label("lr", exact=True)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

    for words in ("much", "", "2", "0", "1e-9"):
        number.fill(words)
        expect(number).to_have_attribute("aria-invalid", "true")
        number.press("Enter")
    size = dial(page, "batch size").get_by_label("batch size", exact=True)
    size.fill("32.5")
    expect(size).to_have_attribute("aria-invalid", "true")
    assert sent == []
    number.press("Escape")
    expect(number).to_have_value("0.1")


def test_the_history_has_an_undo(server: Server, page: Page) -> None:
    """Which sends the former value, as a command of its own."""
    run = LoggedRun(server, "dials")
    run.send(*OFFER)
    open_dials(page, server, run.run_id)
    number = dial(page, "lr").get_by_label("lr", exact=True)
    number.fill("0.5")
    number.press("Enter")
    expect(dial(page, "lr")).to_contain_text("→ 0.5")
    answer(server, run, former=0.1)

    page.get_by_role("button", name="Set lr to 0.1 again").click()

    expect(dial(page, "lr")).to_contain_text("→ 0.1")
    assert (newest(server, run)["value"], newest(server, run)["reason"]) == (0.1, "undo")
    expect(page.locator(".dials tbody tr")).to_have_count(2)


def test_a_dial_of_owners_is_locked_for_others(server: Server, page: Page, browser: Browser) -> None:
    """An owner turns it; who may only turn the others sees that, and why."""
    run = LoggedRun(server, "dials")
    run.send(*OFFER, Dial(1, "budget", "int", value=1, role="owner"))
    open_dials(page, server, run.run_id)
    expect(dial(page, "budget").get_by_label("budget", exact=True)).to_be_enabled()
    expect(dial(page, "budget")).to_contain_text("owners only")

    member = {"email": "ada@example.org", "role": "member"}
    other = browser.new_context().new_page()
    other.goto(server.post("/api/v1/workspaces/default-workspace/users", json=member).json()["url"])
    other.wait_for_url(f"{server.url}/#/settings")
    open_dials(other, server, run.run_id)
    expect(dial(other, "budget").get_by_label("budget", exact=True)).to_be_disabled()
    expect(dial(other, "lr").get_by_label("lr", exact=True)).to_be_enabled()
    other.context.close()


def test_a_run_that_is_over_cannot_be_turned(server: Server, page: Page) -> None:
    """The page says so, while it is being looked at."""
    run = LoggedRun(server, "dials")
    run.send(*OFFER)
    open_dials(page, server, run.run_id)
    expect(dial(page, "lr").get_by_label("lr", exact=True)).to_be_enabled()

    run.end()

    expect(page.get_by_role("note")).to_contain_text("this one is not")
    expect(dial(page, "lr").get_by_label("lr", exact=True)).to_be_disabled()
    expect(dial(page, "save a checkpoint").get_by_role("button")).to_be_disabled()


def test_a_run_without_dials_says_how_to_offer_one(server: Server, page: Page) -> None:
    """Never a blank."""
    run = LoggedRun(server, "silent")
    page.goto(f"{server.url}/#/runs/{run.run_id}?tab=dials")

    expect(page.locator(".dials .empty")).to_contain_text("run.dial(")


TRAINING = """
import sys, time
import rundial as rd

run = rd.init(project="dials", run_id="run_turned", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
state = {"lr": 0.1, "go": True}
run.dial("lr", lambda: state["lr"], lambda value: state.update(lr=value), min=0.0, max=1.0)
run.dial("stop", set=lambda: state.update(go=False))
run.flush(20)
print("ready", flush=True)
until = time.monotonic() + 60
step = 0
while state["go"] and time.monotonic() < until:
    run.poll()
    run.log({"lr": state["lr"]}, step=step)
    step += 1
    time.sleep(0.05)
run.finish(10)
"""


@pytest.fixture
def train(server: Server, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a loop that offers two dials."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", TRAINING, server.url, server.key]
        started.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == b"ready\n"
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def test_a_slider_turns_a_real_loop(server: Server, page: Page, train: Callable[[], subprocess.Popen[bytes]]) -> None:
    """The metric changes at the marked step; stop ends the run as completed."""
    loop = train()
    open_dials(page, server, "run_turned")
    number = dial(page, "lr").get_by_label("lr", exact=True)
    number.fill("0.25")
    number.press("Enter")

    expect(dial(page, "lr")).to_contain_text(re.compile("0.1 → 0.25 by owner"))
    page.get_by_role("button", name="Charts").click()
    expect(page.locator('.plot[data-metric="lr"]')).to_have_attribute("data-last", "0.25")
    page.goto(f"{server.url}/#/runs/run_turned?tab=dials")
    dial(page, "stop").get_by_role("button", name="stop").click()
    expect(page.locator(".run-line")).to_contain_text("completed")
    assert loop.wait(20) == 0


TRAINER = """
import sys, time
sys.path.insert(0, sys.argv[3])
from transformers import TrainerCallback
from rundial.integrations import RundialCallback
from tests.integrations.tiny_transformers import tiny_trainer

class Slow(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        time.sleep(0.05)

callback = RundialCallback(project="dials", run_id="run_trainer", endpoint=sys.argv[1], api_key=sys.argv[2], quiet=True)
callbacks = [callback, Slow()]
trainer = tiny_trainer(callbacks, max_steps=5000, lr_scheduler_type="constant", learning_rate=0.01)
print("ended at", trainer.train().global_step, flush=True)
"""


@pytest.mark.frameworks
@pytest.mark.timeout(180)
@pytest.mark.skipif(find_spec("transformers") is None, reason="Transformers is not here")
def test_a_real_trainer_is_turned_and_stopped_from_the_page(server: Server, page: Page, tmp_path: Path) -> None:
    """The slider moves, the logged learning rate changes at the marked step; stop ends it, and the run says who."""
    import requests

    def ask(path: str) -> Any:
        headers = {"authorization": f"Bearer {server.key}"}
        return requests.get(f"{server.url}/api/v1/runs/run_trainer{path}", headers=headers, timeout=20)

    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", TRAINER, server.url, server.key, root]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as trainer:
        try:
            deadline = time.monotonic() + 90
            while not (found := ask("/dials")).ok or not found.json()["dials"]:
                assert time.monotonic() < deadline and trainer.poll() is None
                time.sleep(0.1)
            open_dials(page, server, "run_trainer")

            dial(page, "lr_multiplier").get_by_label("lr_multiplier, slider").press("Home")
            expect(dial(page, "lr_multiplier")).to_contain_text(re.compile("1 → 0.001 by owner"))
            expect(dial(page, "lr").get_by_label("lr", exact=True)).to_have_value("0.00001")
            dial(page, "stop").get_by_role("button", name="stop").click()
            expect(page.locator(".run-line")).to_contain_text("completed", timeout=20_000)
            said, _ = trainer.communicate(timeout=30)
        finally:
            trainer.kill()
    assert trainer.returncode == 0
    assert int(said.split("ended at ")[1].split()[0]) < 5000
    run = ask("").json()
    assert (run["status"], run["reason"]) == ("completed", "stopped by owner")
    markers = [one for one in ask("/markers").json()["markers"] if one["kind"] == "control"]
    (turned,) = [one["step"] for one in markers if one["name"] == "lr_multiplier"]
    asked = {"runId": "run_trainer", "metricKeys": ["learning_rate"]}
    (series,) = server.post("/api/v1/query/series", json=asked).json()["series"]
    rates = [(point["step"], round(point["value"], 8)) for point in series["points"]]
    assert {rate for step, rate in rates if step < turned} == {0.01}
    assert {rate for step, rate in rates if step >= turned} == {0.00001}


def test_looks(server: Server, page: Page) -> None:
    """A picture to look at."""
    run = LoggedRun(server, "looks", "brave-dial-9").log(range(5), train__loss=1.0)
    run.send(*OFFER)
    open_dials(page, server, run.run_id)
    number = dial(page, "lr").get_by_label("lr", exact=True)
    for value, status, former in (("0.02", "applied", 0.1), ("0.5", "rejected", None), ("0.001", None, None)):
        number.fill(value)
        number.press("Enter")
        expect(dial(page, "lr")).to_contain_text(f"→ {value}")
        if status:
            answer(server, run, status, former)
            expect(dial(page, "lr")).not_to_contain_text("on its way")
    SCREENSHOTS.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.screenshot(path=SCREENSHOTS / f"dials-{scheme}.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=SCREENSHOTS / "dials-phone.png")
