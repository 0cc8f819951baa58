import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Run } from "../../api";
import { plain } from "../../format";
import { Status } from "../../parts/status";
import { Lasted } from "../../parts/time";
import { link, route, setQuery } from "../../router";
import { fieldValue, fieldWords, valueText } from "../runs/fields";
import { type Goal, goalValue, ranked } from "./sweeps.model";

interface TrialsProps {
  runs: readonly Run[];
  parameters: readonly string[];
  goal: Goal | null;
  words: string;
  color: (run: Run) => string;
}

/** Rows before someone asks for all. */
const MOST = 200;

/** The runs of a sweep, their parameters first; the best on top until another column is chosen. */
export function Trials({ runs, parameters, goal, words, color }: TrialsProps) {
  const all = useSignal(false);
  const asked = route.value.query.get("sort") ?? "";
  const order = useMemo(() => sorted(goal ? ranked(runs, goal) : runs, asked), [runs, goal?.field, goal?.smaller, asked]);
  const best = goal && ranked(runs, goal)[0];
  const shown = all.value ? order : order.slice(0, MOST);
  return (
    <>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Runs of the sweep">
        <table class="rows trials">
          <thead>
            <tr>
              <th>Run</th>
              {parameters.map((field) => <Head key={field} field={field} words={fieldWords(field)} asked={asked} />)}
              {goal && <Head field={goal.field} words={words} asked={asked || (goal.smaller ? goal.field : `-${goal.field}`)} />}
              <Head field="status" words="Status" asked={asked} left />
              <Head field="started" words="Took" asked={asked} />
            </tr>
          </thead>
          <tbody>
            {shown.map((run) => (
              <tr key={run.runId} class={run === best && goal && goalValue(run, goal) !== null ? "best" : ""}>
                <td class="run-name"><i class="swatch" style={{ background: color(run) }} /> <a href={link("runs", run.runId)}>{run.runName}</a>{run === best && goal && goalValue(run, goal) !== null && <b class="badge">best</b>}</td>
                {parameters.map((field) => <td key={field} class="figure"><Value run={run} field={field} /></td>)}
                {goal && <td class="figure goal"><Value run={run} field={goal.field} /></td>}
                <td><Status status={run.status} /></td>
                <td class="figure muted"><Lasted startMs={run.startedAtMs} endMs={run.finishedAtMs} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {order.length > shown.length && <button onClick={() => (all.value = true)}>show all {order.length.toLocaleString("en-US")} runs</button>}
    </>
  );
}

function Head({ field, words, asked, left = false }: { field: string; words: string; asked: string; left?: boolean }) {
  const down = asked === `-${field}`;
  const here = down || asked === field;
  return (
    <th class={left ? "" : "figure"} aria-sort={here ? (down ? "descending" : "ascending") : undefined}>
      <button title={words} onClick={() => setQuery({ sort: asked === field ? `-${field}` : field }, true)}>
        <span class="label">{words}</span>{here && (down ? " ↓" : " ↑")}
      </button>
    </th>
  );
}

/** By the field that stands in the address, a `-` before it for the largest first; runs without a value last. */
function sorted(runs: readonly Run[], asked: string): Run[] {
  const down = asked.startsWith("-");
  const field = down ? asked.slice(1) : asked;
  if (!field) return [...runs];
  const words = new Intl.Collator("en", { numeric: true });
  return [...runs].sort((a, b) => {
    const [one, other] = [fieldValue(a, field), fieldValue(b, field)];
    if (one === null || other === null) return Number(one === null) - Number(other === null);
    const found = typeof one === "number" && typeof other === "number" ? one - other : words.compare(plain(one), plain(other));
    return down ? -found : found;
  });
}

function Value({ run, field }: { run: Run; field: string }) {
  const value = fieldValue(run, field);
  return value === null ? <>–</> : <span title={plain(value)}>{valueText(field, value)}</span>;
}
