import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ago } from "../../format";
import { meet, may } from "../../me";
import { Refused, Sure, useAction } from "../../parts/ask";
import type { Place } from "../../project";
import { type SweepRecord, type SweepState, turnSweep } from "./sweeps.api";
import { shownState, type Sweep } from "./sweeps.model";

const SHAPES: Record<string, string> = { running: "●", paused: "❚❚", stopped: "■", finished: "✓", idle: "○" };
/** An agent that has not asked for so long is not there. */
const GONE_MS = 5 * 60_000;

export function State({ sweep }: { sweep: Sweep }) {
  const state = shownState(sweep, Date.now());
  if (!state) return <span class="muted" title="Nobody has told what this sweep is; its runs alone are known.">–</span>;
  return <span class={`sweep-state ${state}`} title={state === "idle" ? "Nothing runs, and no agent has asked for ten minutes." : ""}><i aria-hidden="true">{SHAPES[state]}</i> {state}</span>;
}

/** Pause, resume, stop: the agent obeys before its next trial. */
export function Turning({ record, place, took }: { record: SweepRecord; place: Place; took(record: SweepRecord): void }) {
  const { error, busy, act } = useAction();
  const known = useSignal(false);
  useEffect(() => void meet().then(() => (known.value = true)), []);
  if (!known.value || !may("control:write") || record.state === "finished") return null;
  const to = (state: SweepState) => void act(async () => took(await turnSweep(place, record.sweepId, state)));
  const asked = record.askedAtMs;
  const there = asked !== null && Date.now() - asked < GONE_MS;
  const agent = asked === null ? "no agent has asked yet" : `an agent asked ${ago(asked, Date.now())}`;
  const obeys = there ? agent : `${agent}: it takes effect when one does`;
  return (
    <span class="turning" aria-busy={busy.value}>
      {record.state === "running" && <Sure words="pause" label="Pause the sweep" act={() => to("paused")} />}
      {record.state !== "running" && <button onClick={() => to("running")}>resume</button>}
      {record.state !== "stopped" && <Sure words="stop" label="Stop the sweep" act={() => to("stopped")} />}
      <span class="muted">{record.state !== "running" && record.turnedBy ? `${record.state} by ${record.turnedBy}; ` : ""}runs that have begun go on; {obeys}</span>
      <Refused error={error.value} />
    </span>
  );
}
