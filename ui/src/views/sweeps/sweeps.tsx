import { useEffect, useMemo } from "preact/hooks";
import type { Run } from "../../api";
import { runColor } from "../../colors";
import { count, number, plain } from "../../format";
import { Header } from "../../parts/header";
import { Copyable, Failure } from "../../parts/notice";
import { Status } from "../../parts/status";
import { Ago } from "../../parts/time";
import type { Place } from "../../project";
import { link, route, setQuery } from "../../router";
import { Parallel } from "../compare/parallel";
import { compareLink } from "../runs/bulk";
import { differing, fieldValue, fieldWords, knownFields } from "../runs/fields";
import { ProjectModel } from "../runs/model";
import { type Goal, goalFields, isSmallerBetter, ranked, type Sweep, sweepsOf } from "./sweeps.model";
import "./sweeps.css";

const SNIPPET = [
  "import rundial.compat.wandb as wandb",
  "",
  'space = {"method": "random", "metric": {"name": "loss", "goal": "minimize"},',
  '         "parameters": {"lr": {"min": 1e-4, "max": 1e-1}}}',
  'wandb.agent(wandb.sweep(space, project="digits"), function=train, count=20)',
].join("\n");
const MOST_COLUMNS = 8;

/** The sweeps of a project: each the runs that searched together. */
export function SweepsView({ place }: { place: Place }) {
  const model = useMemo(() => new ProjectModel(place.workspace, place.project), []);
  useEffect(() => {
    document.title = `Sweeps · ${place.project} · Rundial`;
    return () => model.close();
  }, []);
  const runs = model.runs.value;
  const sweeps = useMemo(() => sweepsOf(runs?.values() ?? []), [runs]);
  const asked = route.value.query.get("sweep");
  const open = sweeps.find(({ id }) => id === asked) ?? (sweeps.length === 1 ? sweeps[0] : undefined);
  const arrived = [...model.arrived.value.values()].length;
  return (
    <>
      <Header place={place} stream={model.stream.value} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {arrived > 0 && <button class="arrived" onClick={() => model.showArrived()}>{count(arrived, "new run")}</button>}
      <main class="sweeps">
        {!runs && !model.error.value && <p class="empty">Loading the sweeps …</p>}
        {runs && !sweeps.length && (
          <div class="empty">
            <p>No run of this project belongs to a sweep. This searches with <code>rundial.compat.wandb</code>, on this machine:</p>
            <Copyable text={SNIPPET} block />
          </div>
        )}
        {sweeps.length > 1 && <List sweeps={sweeps} open={open} />}
        {open && <Opened key={open.id} sweep={open} place={place} />}
      </main>
    </>
  );
}

function goalOf(runs: readonly Run[]): Goal | null {
  const query = route.value.query;
  const fields = goalFields(runs);
  const field = fields.find((one) => one === query.get("goal")) ?? fields[0];
  if (!field) return null;
  const asked = query.get("better");
  return { field, smaller: asked ? asked === "smaller" : isSmallerBetter(runs, field) };
}

function List({ sweeps, open }: { sweeps: readonly Sweep[]; open: Sweep | undefined }) {
  return (
    <table class="rows sweep-list">
      <thead><tr><th>Sweep</th><th class="figure">Runs</th><th class="figure">Running</th><th class="figure">Best</th><th class="figure">Last heard</th></tr></thead>
      <tbody>
        {sweeps.map((sweep) => {
          const goal = goalOf(sweep.runs);
          const best = goal && fieldValue(ranked(sweep.runs, goal)[0]!, goal.field);
          return (
            <tr key={sweep.id} aria-current={sweep === open ? "true" : undefined}>
              <td class="name"><button onClick={() => setQuery({ sweep: sweep === open ? null : sweep.id, goal: null, better: null, axes: null }, true)}>{sweep.id}</button></td>
              <td class="figure">{sweep.runs.length.toLocaleString("en-US")}</td>
              <td class="figure">{sweep.running ? <span class="status running">{sweep.running}</span> : "–"}</td>
              <td class="figure" title={goal ? fieldWords(goal.field) : ""}>{typeof best === "number" ? number(best) : "–"}</td>
              <td class="figure muted"><Ago timeMs={sweep.updatedAtMs} /></td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Opened({ sweep, place }: { sweep: Sweep; place: Place }) {
  const { runs } = sweep;
  const goal = goalOf(runs);
  const order = goal ? ranked(runs, goal) : runs;
  const parameters = differing(runs, knownFields(runs).config.filter((field) => !field.startsWith("config._wandb"))).slice(0, MOST_COLUMNS);
  const bad = runs.filter(({ status }) => status === "failed" || status === "crashed").length;
  return (
    <section aria-label={`Sweep ${sweep.id}`}>
      <div class="controls">
        <h1>{sweep.id}</h1>
        <span>{count(runs.length, "run")}{sweep.running > 0 && `, ${sweep.running} running`}{bad > 0 && <span class="bad">, {bad} failed</span>}</span>
        {goal && (
          <>
            <label>
              best by
              <select value={goal.field} onChange={(event) => setQuery({ goal: event.currentTarget.value, better: null }, true)}>
                {goalFields(runs).map((field) => <option key={field} value={field}>{field === "best" ? runs.find((run) => run.primaryMetric)!.primaryMetric!.name : fieldWords(field)}</option>)}
              </select>
            </label>
            <label>
              <input type="checkbox" checked={goal.smaller} onChange={(event) => setQuery({ better: event.currentTarget.checked ? "smaller" : "larger" }, true)} />
              smaller is better
            </label>
          </>
        )}
        <span class="space" />
        <a class="act" href={compareLink(place, runs.map(({ runId }) => runId))}>compare the runs</a>
      </div>
      {runs.length > 1 && <Parallel runs={runs} />}
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Runs of the sweep">
        <table class="rows trials">
          <thead>
            <tr><th class="figure">#</th><th>Run</th><th>Status</th>{goal && <th class="figure">{fieldWords(goal.field)}</th>}{parameters.map((field) => <th key={field} class="figure">{fieldWords(field)}</th>)}</tr>
          </thead>
          <tbody>{order.map((run, rank) => <Trial key={run.runId} run={run} rank={rank} goal={goal} parameters={parameters} />)}</tbody>
        </table>
      </div>
    </section>
  );
}

function Trial({ run, rank, goal, parameters }: { run: Run; rank: number; goal: Goal | null; parameters: readonly string[] }) {
  return (
    <tr>
      <td class="figure muted">{rank + 1}</td>
      <td><i class="swatch" style={{ background: runColor(run.runId) }} /> <a href={link("runs", run.runId)}>{run.runName}</a></td>
      <td><Status status={run.status} /></td>
      {goal && <td class="figure"><Value value={fieldValue(run, goal.field)} /></td>}
      {parameters.map((field) => <td key={field} class="figure"><Value value={fieldValue(run, field)} /></td>)}
    </tr>
  );
}

function Value({ value }: { value: unknown }) {
  if (value === null || value === undefined) return <>–</>;
  return <span title={plain(value)}>{typeof value === "number" ? number(value) : plain(value)}</span>;
}
