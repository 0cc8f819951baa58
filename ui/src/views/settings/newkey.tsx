import { useSignal } from "@preact/signals";
import { Refused, useAction } from "../../parts/ask";
import { Copyable } from "../../parts/notice";
import { type NewKey, SCOPES } from "./settings.api";

const USUAL = ["metrics:write", "project:read", "stream:read"];
const DAY = 24 * 3600 * 1000;
const ENDS: [words: string, days: number | null][] = [["never", null], ["in a week", 7], ["in 30 days", 30], ["in 90 days", 90], ["in a year", 365]];

interface NewKeyProps {
  /** The form's name, and of its heading. */
  title: string;
  make(scopes: string[], label: string, expiresAtMs: number | null): Promise<NewKey>;
  made(key: NewKey): void;
}

/** What a key may do and for how long; its text is shown once, here. */
export function NewKeyForm({ title, make, made }: NewKeyProps) {
  const label = useSignal("");
  const scopes = useSignal<ReadonlySet<string>>(new Set(USUAL));
  const days = useSignal<number | null>(null);
  const fresh = useSignal<NewKey | null>(null);
  const { error, busy, act } = useAction();
  const submit = (event: Event) => {
    event.preventDefault();
    void act(async () => {
      const ends = days.value === null ? null : Date.now() + days.value * DAY;
      fresh.value = await make([...scopes.value], label.value.trim(), ends);
      label.value = "";
      made(fresh.value);
    });
  };
  const toggle = (scope: string) => {
    const next = new Set(scopes.value);
    if (!next.delete(scope)) next.add(scope);
    scopes.value = next;
  };
  if (fresh.value) return <Once apiKey={fresh.value.apiKey} close={() => (fresh.value = null)} />;
  return (
    <form class="settings-form" aria-label={title} onSubmit={submit}>
      <h3>{title}</h3>
      <p class="fields">
        <label>what it is for <input type="text" value={label.value} maxLength={200} placeholder="ci" onInput={(event) => (label.value = event.currentTarget.value)} /></label>
        <label>
          ends
          <select value={String(days.value ?? "")} onChange={(event) => (days.value = event.currentTarget.value ? Number(event.currentTarget.value) : null)}>
            {ENDS.map(([words, amount]) => <option key={words} value={String(amount ?? "")}>{words}</option>)}
          </select>
        </label>
      </p>
      <fieldset>
        <legend>It may</legend>
        {SCOPES.map(([scope, meaning]) => (
          <label key={scope}>
            <input type="checkbox" checked={scopes.value.has(scope)} onChange={() => toggle(scope)} />
            <span class="code">{scope}</span> <span class="muted">{meaning}</span>
          </label>
        ))}
      </fieldset>
      <Refused error={error.value} />
      <button class="act" type="submit" disabled={busy.value || !scopes.value.size}>Make the key</button>
    </form>
  );
}

function Once({ apiKey, close }: { apiKey: string; close(): void }) {
  const lines = `export RUNDIAL_ENDPOINT=${location.origin}\nexport RUNDIAL_API_KEY=${apiKey}`;
  return (
    <div class="once" role="status">
      <p><b>This is the key. It is not shown again.</b></p>
      <Copyable text={apiKey} block />
      <p class="muted">On the machine that trains:</p>
      <Copyable text={lines} block />
      <button onClick={close}>I have kept it</button>
    </div>
  );
}
