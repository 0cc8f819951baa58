"""Settings: keys, members, agents, the audit, deleted runs, the switch for dials; and the ways in and out."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ui.conftest import SCREENSHOTS, LoggedRun, Server

pytestmark = pytest.mark.browser

WORKSPACE = "/api/v1/workspaces/default-workspace"
PASSWORD = "correct horse battery"


def settings(page: Page, server: Server, path: str = "settings") -> None:
    page.goto(f"{server.url}/#/{path}")


def section(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def whoami(server: Server, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return requests.get(f"{server.url}/api/v1/auth/whoami", headers=headers, timeout=20).status_code


def test_a_key_is_made_shown_once_used_and_revoked(server: Server, page: Page) -> None:
    """With the scopes and the end that were chosen; after the revocation it lets nobody in."""
    LoggedRun(server, "keyed").end()
    settings(page, server, "p/default-workspace/keyed/settings")
    keys = section(page, "API keys")
    expect(keys.get_by_text("No keys yet.")).to_be_visible()

    keys.get_by_label("what it is for").fill("night job")
    keys.get_by_label("ends").select_option("in 30 days")
    keys.get_by_role("checkbox", name="stream:read").uncheck()
    keys.get_by_role("button", name="Make the key").click()

    once = keys.get_by_role("status")
    expect(once).to_contain_text("It is not shown again.")
    text = re.search(r"rdk_\S+", once.locator("code").first.inner_text())
    assert text is not None
    expect(once).to_contain_text(f"export RUNDIAL_ENDPOINT={server.url}")
    page.screenshot(path=SCREENSHOTS / "settings-key.png")
    row = keys.get_by_role("row").filter(has_text="night job")
    expect(row).to_contain_text("metrics:write project:read")
    expect(row).not_to_contain_text("stream:read")
    assert whoami(server, text[0]) == 200
    page.reload()
    expect(row).to_contain_text("just now")
    expect(page.get_by_text(text[0])).to_have_count(0)

    row.get_by_role("button", name="Revoke night job").click()
    row.get_by_role("button", name="Really revoke night job").click()

    expect(row).to_contain_text("revoked")
    assert whoami(server, text[0]) == 401


def test_a_member_is_invited_and_comes_in(server: Server, page: Page, browser: Browser) -> None:
    """The link is good once and leads to a password; with it one comes in again; a viewer sees no keys."""
    settings(page, server, "settings?tab=members")
    members = section(page, "Members").first
    expect(members).to_contain_text("Nobody has an account yet")
    members.get_by_label("address").fill("ann@example.org")
    members.get_by_label("name").fill("Ann")
    members.locator("form select").select_option("viewer")
    members.get_by_role("button", name="Make a login link").click()
    link = members.get_by_role("status").locator("code").inner_text()
    page.screenshot(path=SCREENSHOTS / "settings-members.png")

    ann = browser.new_context().new_page()
    ann.goto(link)
    expect(ann.get_by_role("heading", name="Set a password")).to_be_visible()
    ann.get_by_label("the new one").fill(PASSWORD)
    ann.get_by_role("button", name="Set it").click()
    expect(ann.get_by_text("The password is set.")).to_be_visible()
    expect(ann.get_by_text("Ann, ann@example.org")).to_be_visible()
    ann.get_by_role("button", name="Members").click()
    expect(ann.get_by_text("Only owners see the members.")).to_be_visible()
    ann.get_by_role("button", name="Account").click()
    ann.get_by_role("button", name="Log out").click()

    expect(ann.get_by_role("heading", name="You are signed out")).to_be_visible()
    ann.get_by_label("address").fill("ann@example.org")
    ann.get_by_label("password").fill("wrong horse battery")
    ann.get_by_role("button", name="Sign in").click()
    expect(ann.get_by_role("alert")).to_contain_text("wrong")
    ann.screenshot(path=SCREENSHOTS / "signed-out.png")
    ann.get_by_label("password").fill(PASSWORD)
    ann.get_by_role("button", name="Sign in").click()
    expect(ann.get_by_role("link", name="settings")).to_be_visible()
    ann.context.close()


def test_roles_change_and_members_leave(server: Server, page: Page) -> None:
    """Both hold at once; a removed member is not listed any more."""
    server.post(f"{WORKSPACE}/users", json={"email": "bob@example.org", "role": "viewer"})
    settings(page, server, "settings?tab=members")
    role = page.get_by_label("Role of bob@example.org")

    role.select_option("owner")
    page.reload()

    expect(role).to_have_value("owner")
    page.get_by_role("button", name="Remove bob@example.org").click()
    page.get_by_role("button", name="no", exact=True).click()
    expect(role).to_be_visible()
    page.get_by_role("button", name="Remove bob@example.org").click()
    page.get_by_role("button", name="Really remove bob@example.org").click()
    expect(role).to_have_count(0)


def test_an_agent_gets_a_key_and_loses_it(server: Server, page: Page) -> None:
    """The key is of the project that was chosen; revoking the agent takes it away; the audit knows of both."""
    LoggedRun(server, "agents").end()
    settings(page, server, "settings?tab=agents")
    agents = section(page, "Agents")
    agents.get_by_label("name").fill("night shift")
    agents.get_by_role("button", name="Make the agent").click()
    agents.get_by_label("in the project").select_option("agents")
    agents.get_by_role("button", name="Make the key").click()
    text = re.search(r"rdk_\S+", agents.get_by_role("status").locator("code").first.inner_text())
    assert text is not None and whoami(server, text[0]) == 200

    agents.get_by_role("button", name="Revoke night shift", exact=True).click()
    agents.get_by_role("button", name="Really revoke night shift").click()

    expect(agents.locator(".agent-line")).to_contain_text("revoked")
    assert whoami(server, text[0]) == 401
    page.get_by_role("button", name="Audit").click()
    audit = section(page, "Audit").get_by_role("row")
    expect(audit.nth(1)).to_contain_text("agent.revoke")
    expect(audit.filter(has_text="agent.create")).to_have_count(1)
    page.screenshot(path=SCREENSHOTS / "settings-audit.png")


def test_a_deleted_run_comes_back(server: Server, page: Page) -> None:
    """It is listed until it is restored."""
    run = LoggedRun(server, "bin", "by mistake")
    run.end()
    server.post("/api/v1/runs/delete", json={"runIds": [run.run_id]})
    settings(page, server, "p/default-workspace/bin/settings")

    page.get_by_role("button", name="Restore by mistake").click()

    expect(section(page, "Deleted runs")).to_contain_text("No run is deleted.")
    page.get_by_role("link", name="runs", exact=True).click()
    expect(page.get_by_role("link", name="by mistake")).to_be_visible()


def test_the_switch_for_dials_holds(server: Server, page: Page) -> None:
    """Turned off it stays off, for everyone."""
    LoggedRun(server, "switched").end()
    settings(page, server, "p/default-workspace/switched/settings")
    switch = page.get_by_role("checkbox", name="Dials of this project's runs may be turned")

    switch.uncheck()
    expect(switch).to_be_enabled()
    page.reload()

    expect(switch).not_to_be_checked()


def test_the_first_snippet_works_as_it_stands(server: Server, page: Page) -> None:
    """The address in it is this server's, and a click puts in a key that is let in."""
    settings(page, server, "p/default-workspace/default-project")
    expect(page.get_by_text("No runs yet.")).to_be_visible()
    page.get_by_role("button", name="Make a key").click()

    lines = page.locator("code", has_text="export RUNDIAL_API_KEY=")
    expect(lines).to_have_text(re.compile(r"=rdk_[\w-]{20,}$"))
    shell = lines.inner_text()
    page.screenshot(path=SCREENSHOTS / "quickstart.png")
    words = dict(line.removeprefix("export ").split("=", 1) for line in shell.splitlines())
    assert words["RUNDIAL_ENDPOINT"] == server.url
    assert whoami(server, words["RUNDIAL_API_KEY"]) == 200
