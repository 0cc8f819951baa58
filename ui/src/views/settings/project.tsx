import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { dateTime } from "../../format";
import { may } from "../../me";
import { Refused, useAction } from "../../parts/ask";
import { useLoaded } from "../../parts/loaded";
import { Failure } from "../../parts/notice";
import { Status } from "../../parts/status";
import { Ago } from "../../parts/time";
import { restoreRuns } from "../runs/runs.api";
import { controlState, type DeletedRun, deletedRuns, switchControl } from "./settings.api";

/** Runs that were deleted and can still come back. */
export function DeletedRuns({ projectId }: { projectId: string }) {
  const first = useLoaded(() => deletedRuns(projectId, null), [projectId]);
  const older = useSignal<DeletedRun[]>([]);
  const cursor = useSignal<string | null>(null);
  const { error, busy, act } = useAction();
  useEffect(() => {
    older.value = [];
    cursor.value = first.value?.page.nextCursor ?? null;
  }, [first.value]);
  const more = () => void act(async () => {
    const found = await deletedRuns(projectId, cursor.value);
    older.value = [...older.value, ...found.runs];
    cursor.value = found.page.nextCursor;
  });
  const restore = (run: DeletedRun) => void act(async () => {
    await restoreRuns([run.runId]);
    first.load();
  });
  const rows = [...(first.value?.runs ?? []), ...older.value];
  return (
    <section aria-label="Deleted runs">
      <h2>Deleted runs</h2>
      <p class="muted">They can be restored for a week. Then all of them is removed but their artifacts, which belong to the project.</p>
      {first.error && <Failure error={first.error} retry={first.load} />}
      <Refused error={error.value} />
      {!first.value && !first.error && <p class="muted">Loading the deleted runs …</p>}
      {first.value && !rows.length && <p class="empty">No run is deleted.</p>}
      {rows.length > 0 && (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Deleted runs">
          <table class="rows">
            <thead><tr><th>Run</th><th>Status</th><th>Started</th><th>Deleted</th><th>Removed for good</th><th /></tr></thead>
            <tbody>
              {rows.map((run) => (
                <tr key={run.runId}>
                  <td title={run.runId}>{run.runName}</td>
                  <td><Status status={run.status} /></td>
                  <td>{dateTime(run.startedAtMs)}</td>
                  <td><Ago timeMs={run.deletedAtMs} /></td>
                  <td>{dateTime(run.purgedAtMs)}</td>
                  <td>{may("project:write") && <button aria-label={`Restore ${run.runName}`} onClick={() => restore(run)}>restore</button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {cursor.value && <button disabled={busy.value} onClick={more}>more</button>}
    </section>
  );
}

/** Whether the runs of the project may be steered. */
export function ControlSwitch({ projectId }: { projectId: string }) {
  const state = useLoaded(() => controlState(projectId), [projectId]);
  const { error, busy, act } = useAction();
  const turn = (enabled: boolean) => void act(async () => {
    state.signal.value = enabled;
    try {
      await switchControl(projectId, enabled);
    } catch (failure) {
      state.signal.value = !enabled;
      throw failure;
    }
  });
  return (
    <section aria-label="Control">
      <h2>Control</h2>
      {state.error && <Failure error={state.error} retry={state.load} />}
      <Refused error={error.value} />
      {state.value === null ? !state.error && <p class="muted">Loading …</p> : (
        <label class="switch">
          <input type="checkbox" checked={state.value} disabled={busy.value || !may("admin")} onChange={(event) => turn(event.currentTarget.checked)} />
          Dials of this project's runs may be turned
        </label>
      )}
      <p class="muted">While it is off every command is refused, whoever sends it. {!may("admin") && "Only an owner can change it."}</p>
    </section>
  );
}
