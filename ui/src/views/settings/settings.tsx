import { useEffect } from "preact/hooks";
import { may, me, meet } from "../../me";
import { Header } from "../../parts/header";
import { useLoaded } from "../../parts/loaded";
import { Failure } from "../../parts/notice";
import { Tabs } from "../../parts/tabs";
import { findProject, type Place } from "../../project";
import { link, route, setQuery } from "../../router";
import { Account } from "./account";
import { Agents } from "./agents";
import { AuditList } from "./audit";
import { Keys } from "./keys";
import { Members } from "./members";
import { ControlSwitch, DeletedRuns } from "./project";
import "./settings.css";

/** Settings of a project: its keys, its deleted runs, the switch for dials. */
export function ProjectSettings({ place }: { place: Place }) {
  const project = useLoaded(() => findProject(place), [place.workspace, place.project]);
  useEffect(() => {
    document.title = `Settings · ${place.project} · Rundial`;
    void meet();
  }, [place.project]);
  const id = project.value?.projectId;
  return (
    <>
      <Header place={place} />
      {project.error && <Failure error={project.error} retry={project.load} />}
      <main class="settings">
        <h1>Settings of {project.value?.name || place.project}</h1>
        {me.value && (may("admin") ? <Keys place={place} /> : <OwnersOnly what="keys" />)}
        {id && <ControlSwitch projectId={id} />}
        {id && <DeletedRuns projectId={id} />}
        <p><a class="act" href="#/settings">Account, members, agents and audit</a></p>
      </main>
    </>
  );
}

const TABS: [name: string, words: string, forOwners: boolean][] = [
  ["account", "Account", false],
  ["members", "Members", true],
  ["agents", "Agents", true],
  ["audit", "Audit", true],
];

/** Settings of a person and of a workspace. */
export function Settings() {
  useEffect(() => {
    document.title = "Settings · Rundial";
    void meet();
  }, []);
  const who = me.value;
  const asked = route.value.query.get("tab");
  const tab = TABS.find(([name]) => name === asked) ?? TABS[0]!;
  const [name, , forOwners] = tab;
  return (
    <>
      <Header />
      <main class="settings">
        <h1>Settings</h1>
        <Tabs
          label="Settings" tabs={TABS.map(([each, words]) => [each, words])} now={name}
          onTab={(each) => setQuery({ tab: each === "account" ? null : each, actor: null }, true)}
        />
        {!who ? <p class="muted">Loading …</p>
          : forOwners && !may("admin") ? <OwnersOnly what={name} />
          : name === "account" ? <Account />
          : name === "members" ? <Members workspace={who.workspaceSlug} />
          : name === "agents" ? <Agents workspace={who.workspaceSlug} />
          : <AuditList workspace={who.workspaceSlug} />}
        {who && name === "account" && <p class="muted">Keys, deleted runs and the switch for dials are settings of <a class="act" href={link()}>a project</a>.</p>}
      </main>
    </>
  );
}

function OwnersOnly({ what }: { what: string }) {
  return <p class="empty">Only owners see the {what}. An owner can give you the role.</p>;
}
