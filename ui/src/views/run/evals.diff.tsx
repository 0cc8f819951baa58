import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { number } from "../../format";
import { route, setQuery } from "../../router";
import { type Change, CHANGES, diff, type EvalRun, type Pair } from "./evals.api";
import { PagedRows } from "./evals.model";
import { List, Score } from "./evals.parts";

const SHAPES: Record<Change, string> = { regressed: "▼", improved: "▲", added: "+", removed: "−", same: "=" };

/** What changed from another eval run of the suite to this one. */
export function Comparison({ projectId, base, chosen, more }: { projectId: string; base: EvalRun; chosen: EvalRun; more: number }) {
  const query = route.value.query;
  const status = CHANGES.find((change) => change === query.get("status")) ?? null;
  const counts = useSignal<Record<Change, number> | null>(null);
  const asked = {
    projectId,
    baselineEvalRunId: base.evalRunId,
    candidateEvalRunId: chosen.evalRunId,
    scorer: query.get("scorer"),
    statuses: status ? [status] : CHANGES.filter((change) => change !== "same"),
  };
  const fetch = async (cursor: string | null, limit: number) => {
    const found = await diff(asked, cursor, limit);
    counts.value = found.counts;
    return found;
  };
  const list = useMemo(() => new PagedRows<Pair>(fetch), [JSON.stringify(asked)]);
  useEffect(() => () => list.close(), [list]);
  useEffect(() => void list.refresh(), [list, more]);
  return (
    <>
      {counts.value && <Counts counts={counts.value} chosen={status} />}
      <List list={list} empty={status ? `Nothing ${status === "same" ? "stayed the same" : status}.` : "Nothing changed."}>
        <table class="rows">
          <thead>
            <tr>
              <th>Example</th><th>Scorer</th><th class="figure scored">Before</th><th class="figure scored">Now</th><th class="figure">Change</th><th>What</th>
            </tr>
          </thead>
          <tbody>{(list.rows.value ?? []).map((pair) => <Row key={`${pair.exampleId}\n${pair.scorer}`} pair={pair} />)}</tbody>
        </table>
      </List>
    </>
  );
}

/** How many of each kind there are on all pages; a click shows one kind alone. */
function Counts({ counts, chosen }: { counts: Record<Change, number>; chosen: Change | null }) {
  return (
    <p class="changes">
      {CHANGES.map((change) => (
        <button
          key={change} aria-pressed={change === chosen} class={counts[change] ? change : "none"} data-change={change}
          onClick={() => setQuery({ status: change === chosen ? null : change }, true)}
        >
          {SHAPES[change]} <b>{counts[change].toLocaleString("en-US")}</b> {change}
        </button>
      ))}
    </p>
  );
}

function Row({ pair }: { pair: Pair }) {
  return (
    <tr>
      <td class="name" title={pair.exampleId}>{pair.exampleId}</td>
      <td>{pair.scorer}</td>
      <td class="figure">{pair.baselineScore !== null && <Score score={pair.baselineScore} passed={pair.baselinePassed} />}</td>
      <td class="figure">{pair.candidateScore !== null && <Score score={pair.candidateScore} passed={pair.candidatePassed} />}</td>
      <td class="figure" title={String(pair.delta ?? "")}>{pair.delta === null ? "" : signed(pair.delta)}</td>
      <td class={`change ${pair.status}`}>{SHAPES[pair.status]} {pair.status}</td>
    </tr>
  );
}

function signed(delta: number): string {
  return delta > 0 ? `+${number(delta)}` : number(delta).replace("-", "−");
}
