import { useSignal } from "@preact/signals";
import { projects } from "../../api";
import { Refused, Sure, useAction } from "../../parts/ask";
import { useLoaded } from "../../parts/loaded";
import { Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import { KeyTable } from "./keys";
import { NewKeyForm } from "./newkey";
import { type Agent, agentKeys, agents, createAgent, createAgentKey, revokeAgent } from "./settings.api";

/** Programs with a name of their own, which the audit tells apart. */
export function Agents({ workspace }: { workspace: string }) {
  const list = useLoaded(() => agents(workspace), [workspace]);
  const open = useSignal<string | null>(null);
  const name = useSignal("");
  const { error, busy, act } = useAction();
  const submit = (event: Event) => {
    event.preventDefault();
    void act(async () => {
      open.value = (await createAgent(workspace, name.value.trim())).agentId;
      name.value = "";
      list.load();
    });
  };
  return (
    <section aria-label="Agents">
      <h2>Agents</h2>
      <p class="muted">A program that works by itself. It has keys of its own; the audit says what it did, and one click takes all of them away.</p>
      {list.error && <Failure error={list.error} retry={list.load} />}
      {!list.value && !list.error && <p class="muted">Loading the agents …</p>}
      {list.value && !list.value.length && <p class="empty">No agents yet.</p>}
      {list.value?.map((agent) => (
        <Row key={agent.agentId} workspace={workspace} agent={agent} open={open.value === agent.agentId}
          toggle={() => (open.value = open.value === agent.agentId ? null : agent.agentId)}
          revoke={() => void act(async () => { await revokeAgent(workspace, agent.agentId); list.load(); })} />
      ))}
      <Refused error={error.value} />
      {list.value && (
        <form class="settings-form" aria-label="A new agent" onSubmit={submit}>
          <h3>A new agent</h3>
          <p class="fields">
            <label>name <input type="text" required maxLength={200} placeholder="night shift" value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} /></label>
            <button class="act" type="submit" disabled={busy.value}>Make the agent</button>
          </p>
        </form>
      )}
    </section>
  );
}

interface RowProps {
  workspace: string;
  agent: Agent;
  open: boolean;
  toggle(): void;
  revoke(): void;
}

function Row({ workspace, agent, open, toggle, revoke }: RowProps) {
  const active = agent.status === "active";
  return (
    <div class={active ? "agent" : "agent muted"}>
      <p class="agent-line">
        <button aria-expanded={open} onClick={toggle}>{agent.name}</button>
        <span class="code muted">{agent.agentId}</span>
        <span class="muted">made <Ago timeMs={agent.createdAtMs} /></span>
        {active ? <Sure words="revoke" label={`Revoke ${agent.name}`} act={revoke} /> : <span>revoked</span>}
      </p>
      {open && <Opened workspace={workspace} agent={agent} />}
    </div>
  );
}

function Opened({ workspace, agent }: { workspace: string; agent: Agent }) {
  const keys = useLoaded(() => agentKeys(workspace, agent.agentId), [agent.agentId, agent.status]);
  const places = useLoaded(() => projects(workspace), [workspace]);
  const project = useSignal<string | null>(null);
  const chosen = project.value ?? places.value?.[0]?.projectSlug ?? null;
  return (
    <div class="agent-keys">
      {keys.error && <Failure error={keys.error} retry={keys.load} />}
      {keys.value && <KeyTable workspace={workspace} keys={keys.value} changed={keys.load} />}
      {agent.status === "active" && places.value && chosen && (
        <>
          <p class="fields">
            <label>
              in the project
              <select value={chosen} onChange={(event) => (project.value = event.currentTarget.value)}>
                {places.value.map((place) => <option key={place.projectId} value={place.projectSlug}>{place.name || place.projectSlug}</option>)}
              </select>
            </label>
          </p>
          <NewKeyForm title={`A new key of ${agent.name}`} made={keys.load}
            make={(scopes, label, ends) => createAgentKey(workspace, agent.agentId, chosen, scopes, label, ends)} />
        </>
      )}
    </div>
  );
}
