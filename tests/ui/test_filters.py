"""The filter language of the runs table: what it finds, what it says of mistakes, what it proposes."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import LoggedRun, Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def four(server: Server) -> list[str]:
    """Four runs that differ in everything a filter can ask for."""
    bert = LoggedRun(
        server, "filters", "bert-small", config={"lr": 1e-4, "amp": True, "opt": {"name": "adam"}}, tags=["a", "b"]
    )
    bert.log(range(5), val__loss=0.5)
    bert.end("failed", "out of memory")
    vit = LoggedRun(
        server, "filters", "vit-base", config={"lr": 1e-2, "amp": False, "opt": {"name": "sgd"}}, tags=["b"]
    )
    vit.log(range(3), val__loss=0.25)
    vit.end("completed")
    LoggedRun(server, "filters", "bert-large", config={"lr": 3e-4, "my key": 7, "size": "10"}, path="nlp/x").log(
        range(2), val__loss=0.75
    )
    LoggedRun(server, "filters", "no and yes", group="odd")
    return ["bert-large", "bert-small", "no and yes", "vit-base"]


@pytest.fixture(scope="module")
def find(server: Server, browser: Browser, four: list[str]) -> Callable[[str], list[str]]:
    """The names of the runs that a filter leaves, sorted; ``!`` and the complaint when it has one."""
    page = browser.new_page()
    page.goto(server.link())
    page.wait_for_url(f"{server.url}/#/")

    def find(text: str) -> list[str]:
        page.goto("about:blank")
        page.goto(f"{server.url}/#/p/default-workspace/filters?q={quote(text)}")
        expect(page.locator("table.runs")).to_be_visible()
        complaint = page.locator(".complaint").inner_text()
        names: list[str] = page.locator("table.runs td.name a").all_inner_texts()
        return ["!" + complaint] if complaint else sorted(names)

    return find


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "bert-large, bert-small, no and yes, vit-base"),
        ('config.lr < 1e-3 and status = failed and "bert" in name', "bert-small"),
        ("config.lr<1e-3", "bert-large, bert-small"),
        ("config.lr >= 3e-4", "bert-large, vit-base"),
        ("lr = 0.01", "vit-base"),
        ("BERT", "bert-large, bert-small"),
        ("bert large", "bert-large"),
        ('"no and"', "no and yes"),
        ("vit or large", "bert-large, vit-base"),
        ("bert and not large", "bert-small"),
        ("not (vit or large)", "bert-small, no and yes"),
        ("bert and not conf", "bert-large, bert-small"),
        ("vit or bert and large", "bert-large, vit-base"),
        ("status in (failed, completed)", "bert-small, vit-base"),
        ("status not in (failed, completed)", "bert-large, no and yes"),
        ("status != running", "bert-small, vit-base"),
        ("a in tags", "bert-small"),
        ("tags = b", "bert-small, vit-base"),
        ("tags = null", "bert-large, no and yes"),
        ("config.amp = true", "bert-small"),
        ('config.opt.name ~ "^(adam|lion)$"', "bert-small"),
        ("config.opt.name !~ sgd", "bert-large, bert-small, no and yes"),
        ("config.lr = null", "no and yes"),
        ("config.lr != null", "bert-large, bert-small, vit-base"),
        ("summary.val/loss <= 0.5", "bert-small, vit-base"),
        ("val/loss > 0.5", "bert-large"),
        ("`config.my key` = 7", "bert-large"),
        ("config.size = 10", "bert-large"),
        ("config.size < 9", ""),
        ("step >= 4", "bert-small"),
        ("time < 1h and started > 2020-01-01", "bert-large, bert-small, no and yes, vit-base"),
        ("age > 1d", ""),
        ("path ~ ^nlp", "bert-large"),
        ("group = odd", "no and yes"),
        ("reason ~ memory", "bert-small"),
    ],
)
def test_filter_leaves(find: Callable[[str], list[str]], text: str, names: str) -> None:
    """Every form of the language, on runs that differ."""
    assert ", ".join(find(text)) == names


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("config.lr <", "“<” needs a value behind it."),
        ("(bert", "The ( is not closed."),
        ("bert)", "There is a ) too many."),
        ('name = "bert', "The quote is not closed."),
        ("bert and", "Something is missing here."),
        ("status in (failed", "The ( is not closed."),
        ("name ~ [", "This is no regular expression."),
        ("started > soon", "This is no date, such as 2026-11-21."),
        ("config.lr", "The field “config.lr” needs a comparison, such as = or <."),
        ("config.optt.name = adam", "No run has a field “config.optt.name”. Did you mean config.opt.name?"),
        ("= 3", "Something is missing here."),
        ('"lr" = 3', "The name of a field has no quotes, or `these`."),
    ],
)
def test_mistakes_are_explained(find: Callable[[str], list[str]], text: str, complaint: str) -> None:
    """A sentence that says what is wrong."""
    assert find(text) == ["!" + complaint]


def test_half_typed_filter_keeps_the_rows(server: Server, page: Page, four: list[str]) -> None:
    """While a filter cannot be understood the table stays as it was, and it says why."""
    page.goto(f"{server.url}/#/p/default-workspace/filters?q=bert")
    names = page.locator("table.runs td.name")
    expect(names).to_have_text(["bert-large", "bert-small"])

    page.keyboard.press("/")
    page.keyboard.press("End")
    page.keyboard.type(" and conf")
    expect(page.locator(".complaint")).to_have_text("“conf” is not finished. Put it in quotes to search for it.")
    page.keyboard.type("ig.lr <")
    expect(page.locator(".complaint")).to_have_text("“<” needs a value behind it.")
    expect(names).to_have_text(["bert-large", "bert-small"])
    page.keyboard.type(" 2e-4")

    expect(names).to_have_text(["bert-small"])
    expect(page.locator(".complaint")).to_be_empty()


def test_the_way_to_a_field_empties_nothing(server: Server, page: Page, four: list[str]) -> None:
    """Up to `config.lr` the first word is no search, unless one leaves it there."""
    page.goto(f"{server.url}/#/p/default-workspace/filters")
    names = page.locator("table.runs td.name")
    expect(names).to_have_count(4)
    page.keyboard.press("/")
    for letter in "config.lr":
        page.keyboard.type(letter)
        expect(names).to_have_count(4)
    page.keyboard.type(" < 2e-4")
    expect(names).to_have_text(["bert-small"])

    page.get_by_role("combobox", name="Filter runs").fill("conf")
    expect(names).to_have_text(["bert-small"])
    page.keyboard.press("Enter")
    expect(page.get_by_text("No run matches")).to_be_visible()


def test_a_filter_is_completed(server: Server, page: Page, four: list[str]) -> None:
    """Fields, signs, values and joints are proposed in turn; Tab takes the first, arrows and Enter any."""
    page.goto(f"{server.url}/#/p/default-workspace/filters")
    line = page.get_by_role("combobox", name="Filter runs")
    options = page.locator("#filter-proposals li")
    line.click()
    page.keyboard.type("statu")
    expect(options).to_have_text(["status text"])
    page.keyboard.press("Tab")
    expect(line).to_have_value("status ")
    expect(options.first).to_have_text("= is")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(options).to_have_text(["running in 2", "completed in 1", "failed in 1"])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(line).to_have_value("status = failed ")
    expect(options).to_have_text(["and both", "or either"])

    expect(page.locator("table.runs td.name")).to_have_text(["bert-small"])
    page.keyboard.press("Escape")
    expect(options).to_have_count(0)


def test_enter_leads_to_the_mistake(server: Server, page: Page, four: list[str]) -> None:
    """The cursor stands where the filter cannot be understood."""
    page.goto(f"{server.url}/#/p/default-workspace/filters?q=name+%3D+%22bert+and+vit")
    expect(page.locator(".complaint")).to_have_text("The quote is not closed.")
    page.keyboard.press("/")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.selectionStart") == len("name = ")
