import { dateTime } from "../../format";
import { Sure, Refused, useAction } from "../../parts/ask";
import { useLoaded } from "../../parts/loaded";
import { Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import type { Place } from "../../project";
import { NewKeyForm } from "./newkey";
import { createKey, type Key, projectKeys, revokeKey } from "./settings.api";

/** The keys of a project. */
export function Keys({ place }: { place: Place }) {
  const keys = useLoaded(() => projectKeys(place), [place.workspace, place.project]);
  return (
    <section aria-label="API keys">
      <h2>API keys</h2>
      <p class="muted">A key lets a program in, to this project alone, for what it may do.</p>
      {keys.error && <Failure error={keys.error} retry={keys.load} />}
      {keys.value ? <KeyTable workspace={place.workspace} keys={keys.value} changed={keys.load} /> : !keys.error && <p class="muted">Loading the keys …</p>}
      {keys.value && <NewKeyForm title="A new key" make={(scopes, label, ends) => createKey(place, scopes, label, ends)} made={keys.load} />}
    </section>
  );
}

export function KeyTable({ workspace, keys, changed }: { workspace: string; keys: readonly Key[]; changed(): void }) {
  const { error, act } = useAction();
  if (!keys.length) return <p class="empty">No keys yet.</p>;
  return (
    <>
      <Refused error={error.value} />
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Keys">
        <table class="rows">
          <thead><tr><th>For</th><th>May</th><th>Made</th><th>Last used</th><th>Ends</th><th>State</th><th /></tr></thead>
          <tbody>
            {keys.map((key) => {
              const state = stateOf(key);
              return (
                <tr key={key.keyId} class={state === "valid" ? "" : "muted"}>
                  <td title={key.keyId}>{key.label || <span class="code">{key.keyId}</span>}{key.agentId && <span class="muted"> agent</span>}</td>
                  <td class="code scopes">{key.scopes.join(" ")}</td>
                  <td><Ago timeMs={key.createdAtMs} /></td>
                  <td>{key.lastUsedAtMs ? <Ago timeMs={key.lastUsedAtMs} /> : "never"}</td>
                  <td>{key.expiresAtMs ? dateTime(key.expiresAtMs) : "never"}</td>
                  <td>{state}</td>
                  <td>{state === "valid" && <Sure words="revoke" label={`Revoke ${key.label || key.keyId}`} act={() => void act(async () => { await revokeKey(workspace, key); changed(); })} />}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </>
  );
}

function stateOf(key: Key): "valid" | "revoked" | "ended" {
  if (key.revokedAtMs !== null) return "revoked";
  return key.expiresAtMs !== null && key.expiresAtMs <= Date.now() ? "ended" : "valid";
}
