import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { dateTime } from "../../format";
import { useAction } from "../../parts/ask";
import { useLoaded } from "../../parts/loaded";
import { Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import { audit, type AuditEvent } from "./settings.api";

const ACTORS: [kind: string, words: string][] = [["", "everybody"], ["user", "users"], ["api_key", "keys"], ["agent", "agents"], ["system", "the server"]];

/** Who changed what in the workspace, and who was not let. */
export function AuditList({ workspace }: { workspace: string }) {
  const actor = route.value.query.get("actor") ?? "";
  const first = useLoaded(() => audit(workspace, null, actor), [workspace, actor]);
  const more = useSignal<AuditEvent[]>([]);
  const cursor = useSignal<string | null>(null);
  const { error, busy, act } = useAction();
  useEffect(() => {
    more.value = [];
    cursor.value = first.value?.page.nextCursor ?? null;
  }, [first.value]);
  const older = () => void act(async () => {
    const found = await audit(workspace, cursor.value, actor);
    more.value = [...more.value, ...found.events];
    cursor.value = found.page.nextCursor;
  });
  const rows = [...(first.value?.events ?? []), ...more.value];
  return (
    <section aria-label="Audit">
      <h2>Audit</h2>
      <p class="fields">
        <label>
          by
          <select value={actor} onChange={(event) => setQuery({ actor: event.currentTarget.value }, true)}>
            {ACTORS.map(([kind, words]) => <option key={kind} value={kind}>{words}</option>)}
          </select>
        </label>
      </p>
      {(first.error ?? error.value) && <Failure error={(first.error ?? error.value)!} retry={first.load} />}
      {!first.value && !first.error && <p class="muted">Loading the audit …</p>}
      {first.value && !rows.length && <p class="empty">Nothing has been changed yet.</p>}
      {rows.length > 0 && (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Audit">
          <table class="rows">
            <thead><tr><th>Time</th><th>Who</th><th>What</th><th>Of</th><th>Verdict</th></tr></thead>
            <tbody>
              {rows.map((event) => (
                <tr key={event.eventId}>
                  <td class="muted">{dateTime(event.createdAtMs)}</td>
                  <td>{event.actorKind.replace("_", " ")} <span class="code muted">{event.actorId}</span></td>
                  <td class="code">{event.action}</td>
                  <td>{event.targetKind?.replace("_", " ")} <span class="code muted">{event.targetId}</span></td>
                  <td class={event.verdict === "denied" ? "bad" : ""}>{event.verdict}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {cursor.value && <button disabled={busy.value} onClick={older}>before that</button>}
    </section>
  );
}
