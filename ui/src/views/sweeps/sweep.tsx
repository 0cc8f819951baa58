import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import type { Run } from "../../api";
import { runColor } from "../../colors";
import { count, number, plain } from "../../format";
import type { Place } from "../../project";
import { link, route, setQuery } from "../../router";
import { type Axis, axisOf } from "../compare/axes";
import { Boxes } from "../compare/box";
import { type Dot, Dots } from "../compare/dots";
import { Frame, shadeOf } from "../compare/frame";
import { Heat } from "../compare/heat";
import { Parallel } from "../compare/parallel";
import { compareLink } from "../runs/bulk";
import { fieldValue, fieldWords, valueText } from "../runs/fields";
import { Bars } from "./bars";
import { Config } from "./config";
import { importances } from "./importance";
import { Progress } from "./progress";
import { State, Turning } from "./state";
import type { SweepRecord } from "./sweeps.api";
import { type Goal, goalFields, goalValue, goalWords, isSmallerBetter, parametersOf, ranked, searched, type Sweep, sweepName } from "./sweeps.model";
import { Trials } from "./trials";

/** Parameters that are drawn without being asked for. */
const MOST = 12;
const MOST_AXES = 8;
/** So few different numbers are drawn as choices. */
const FEW_VALUES = 6;

export function goalOf(sweep: Sweep): Goal | null {
  const query = route.value.query;
  const fields = goalFields(sweep);
  const field = fields.find((one) => one === query.get("goal")) ?? fields[0];
  if (!field) return null;
  const asked = query.get("better");
  return { field, smaller: asked ? asked === "smaller" : isSmallerBetter(sweep, field) };
}

/** One sweep: how far it came, what mattered, and what each of its runs tried. */
export function OneSweep({ sweep, place, took }: { sweep: Sweep; place: Place; took(record: SweepRecord): void }) {
  const { runs, record } = sweep;
  const hovered = useSignal<Run | null>(null);
  const goal = goalOf(sweep);
  const parameters = useMemo(() => searched(sweep), [runs, record]);
  const words = goal ? goalWords(sweep, goal.field) : "";
  const valued = goal ? runs.filter((run) => goalValue(run, goal) !== null) : [];
  const best = goal && valued.length ? ranked(valued, goal)[0] : undefined;
  const axis = goal && valued.length ? { ...axisOf(runs, goal.field, null), words } : null;
  const color = (run: Run) => (axis ? shadeOf(axis.place(run)) : runColor(run.runId));
  const strongest = useMemo(() => (goal ? importances(runs, parameters, goal).map(({ field }) => field) : []), [runs, parameters, goal?.field]);
  const order = [...strongest, ...parameters.filter((field) => !strongest.includes(field))];
  return (
    <section aria-label={`Sweep ${sweepName(sweep)}`}>
      <div class="controls">
        <h1>{sweepName(sweep)}</h1>
        <State sweep={sweep} />
        {record?.method && <span class="muted">{record.method}</span>}
        <Counts sweep={sweep} />
        {goal && (
          <>
            <label>
              best by
              <select value={goal.field} onChange={(event) => setQuery({ goal: event.currentTarget.value, better: null, sort: null }, true)}>
                {goalFields(sweep).map((field) => <option key={field} value={field}>{goalWords(sweep, field)}</option>)}
              </select>
            </label>
            <label>
              <input type="checkbox" checked={goal.smaller} onChange={(event) => setQuery({ better: event.currentTarget.checked ? "smaller" : "larger", sort: null }, true)} />
              smaller is better
            </label>
          </>
        )}
        <span class="space" />
        {runs.length > 1 && <a class="act" href={compareLink(place, runs.map(({ runId }) => runId))}>compare the runs</a>}
      </div>
      {record && <div class="turn-line"><Turning record={record} place={place} took={took} /></div>}
      {best && goal && (
        <p class="best-run">
          Best {words} <b>{number(goalValue(best, goal)!)}</b> by <a class="act" href={link("runs", best.runId)}>{best.runName}</a>
          {order.slice(0, MOST).map((field) => <span key={field} class="muted"> {fieldWords(field)} <b>{valueText(field, fieldValue(best, field))}</b></span>)}
        </p>
      )}
      {!runs.length && <p class="empty">The sweep has no run yet. An agent begins one: <code>wandb.agent("{sweep.id}", function=train)</code></p>}
      {axis && goal && (
        <div class="pair">
          <Part title="Best so far"><Progress runs={runs} goal={goal} words={words} hovered={hovered} color={color} best={best} /></Part>
          <Part title="What mattered"><Bars runs={runs} fields={parameters} goal={goal} words={words} /></Part>
        </div>
      )}
      {runs.length > 1 && parameters.length > 0 && (
        <Part title="Every run through its parameters">
          <Parallel runs={runs} first={[...order.slice(0, MOST_AXES - 1), ...(goal ? [goal.field] : [])]} {...(goal && axis && { by: goal.field })} />
        </Part>
      )}
      {runs.length > 0 && <Part title={count(runs.length, "run")}><Trials runs={runs} parameters={parameters.slice(0, MOST)} goal={goal} words={words} color={color} /></Part>}
      {axis && goal && order.length > 0 && runs.length > 1 && (
        <Part title={`${words} over each parameter`}>
          <div class="multiples">
            {order.slice(0, MOST).map((field) => <One key={field} runs={valued} sweep={sweep} field={field} y={axis} hovered={hovered} color={color} best={best} />)}
          </div>
          <Said hovered={hovered} fields={order} goal={goal} words={words} />
        </Part>
      )}
      {axis && order.length > 1 && runs.length > 1 && <Two runs={valued} fields={order} z={axis} best={best} goal={goal!} words={words} />}
      <Part title="What was asked for"><Config sweep={sweep} /></Part>
    </section>
  );
}

function Part({ title, children }: { title: string; children: ComponentChildren }) {
  return <section class="part" aria-label={title}><h2>{title}</h2>{children}</section>;
}

export function Counts({ sweep }: { sweep: Sweep }) {
  if (!sweep.runs.length) return <span class="muted">no runs</span>;
  return (
    <span class="counts">
      {sweep.counts.map(([status, amount], place) => (
        <span key={status}>{place > 0 && ", "}<span class={`status ${status}`}>{amount.toLocaleString("en-US")} {status}</span></span>
      ))}
    </span>
  );
}

interface OneProps {
  runs: readonly Run[];
  sweep: Sweep;
  field: string;
  y: Axis;
  hovered: Signal<Run | null>;
  color: (run: Run) => string;
  best: Run | undefined;
}

/** The metric over one parameter: dots over a range, boxes over a choice. */
function One({ runs, sweep, field, y, hovered, color, best }: OneProps) {
  const x = axisOf(runs, field, null);
  const listed = parametersOf(sweep).some((one) => one.field === field && Array.isArray(one.about.values));
  const few = new Set(runs.map((run) => plain(fieldValue(run, field)))).size <= FEW_VALUES;
  if (x.choice || (listed && few)) return <Boxes runs={runs} field={field} y={y} hovered={hovered} color={color} best={best} height={220} widest={460} />;
  const dots = runs.flatMap((run): Dot[] => {
    const [h, v] = [x.place(run), y.place(run)];
    return h === null || v === null ? [] : [{ run, h, v, color: color(run) }];
  });
  return (
    <Frame x={{ ...x, words: x.words + (x.log ? " (log)" : "") }} y={y} label={`${y.words} over ${x.words}`} height={220} widest={460}>
      {(across, down) => <Dots dots={dots} across={across} down={down} hovered={hovered} best={best} />}
    </Frame>
  );
}

/** The run under the pointer, in words. */
function Said({ hovered, fields, goal, words }: { hovered: Signal<Run | null>; fields: readonly string[]; goal: Goal; words: string }) {
  const run = hovered.value;
  const text = run && `${run.runName}: ${words} ${valueText(goal.field, fieldValue(run, goal.field))}, ${fields.map((field) => `${fieldWords(field)} ${valueText(field, fieldValue(run, field))}`).join(", ")}`;
  return <p class="muted said">{text ?? "Each dot is a run; the best one has a ring. A click opens it."}</p>;
}

interface TwoProps {
  runs: readonly Run[];
  fields: readonly string[];
  z: Axis;
  best: Run | undefined;
  goal: Goal;
  words: string;
}

/** The metric over two parameters that one chooses. */
function Two({ runs, fields, z, best, goal, words }: TwoProps) {
  const hovered = useSignal<Run | null>(null);
  const query = route.value.query;
  const chosen = (name: string, other: number) => fields.find((field) => field === query.get(name)) ?? fields[other]!;
  const [x, y] = [axisOf(runs, chosen("px", 0), null), axisOf(runs, chosen("py", 1), null)];
  const values = runs.map((run) => goalValue(run, goal)!);
  const select = (name: string, words: string, axis: Axis) => (
    <label>
      {words}
      <select aria-label={`${words} of the two parameters`} value={axis.field} onChange={(event) => setQuery({ [name]: event.currentTarget.value }, true)}>
        {fields.map((field) => <option key={field} value={field}>{fieldWords(field)}</option>)}
      </select>
    </label>
  );
  return (
    <Part title="Two parameters together">
      <div class="controls">
        {select("px", "across", x)}
        {select("py", "up", y)}
        <span class="legend muted">{number(Math.min(...values))}<i aria-hidden="true" />{number(Math.max(...values))} {words}</span>
      </div>
      <Heat runs={runs} x={logged(x)} y={logged(y)} z={z} hovered={hovered} best={best} />
      <Said hovered={hovered} fields={fields} goal={goal} words={words} />
    </Part>
  );
}

function logged(axis: Axis): Axis {
  return axis.log ? { ...axis, words: `${axis.words} (log)` } : axis;
}
