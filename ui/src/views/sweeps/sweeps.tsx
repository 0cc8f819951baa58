import { useEffect, useMemo } from "preact/hooks";
import { number } from "../../format";
import { Header } from "../../parts/header";
import { useLoaded } from "../../parts/loaded";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import type { Place } from "../../project";
import { link, route } from "../../router";
import { ProjectModel } from "../runs/model";
import { State } from "./state";
import { Counts, goalOf, OneSweep } from "./sweep";
import { sweepRecords } from "./sweeps.api";
import { goalValue, goalWords, ranked, type Sweep, sweepName, sweepsOf } from "./sweeps.model";
import "./sweeps.css";

const SNIPPET = [
  "import rundial.compat.wandb as wandb",
  "",
  'space = {"method": "random", "metric": {"name": "loss", "goal": "minimize"},',
  '         "parameters": {"lr": {"min": 1e-4, "max": 1e-1}}}',
  'wandb.agent(wandb.sweep(space, project="digits"), function=train, count=20)',
].join("\n");

/** The sweeps of a project: searches whose trials are its runs. */
export function SweepsView({ place }: { place: Place }) {
  const model = useMemo(() => new ProjectModel(place.workspace, place.project), []);
  useEffect(() => () => model.close(), []);
  const records = useLoaded(() => sweepRecords(place), [model.sweeps.value]);
  const runs = model.runs.value;
  const arrived = model.arrived.value;
  useEffect(() => {
    // A trial is expected here, so that it need not wait until someone asks for it.
    if (arrived.size) model.showArrived();
  }, [arrived]);
  const sweeps = useMemo(() => sweepsOf(runs?.values() ?? [], records.value ?? []), [runs, records.value]);
  const asked = route.value.query.get("sweep");
  const known = runs !== null && (records.value !== null || records.error !== null);
  const open = asked === null ? (sweeps.length === 1 ? sweeps[0] : undefined) : sweeps.find(({ id }) => id === asked);
  const all = link("p", place.workspace, place.project, "sweeps");
  useEffect(() => {
    document.title = `${open ? sweepName(open) : "Sweeps"} · ${place.project} · Rundial`;
  }, [open && sweepName(open)]);
  const took = (record: NonNullable<typeof records.value>[number]) => {
    records.signal.value = (records.signal.value ?? []).map((one) => (one.sweepId === record.sweepId ? record : one));
  };
  return (
    <>
      <Header place={place} stream={model.stream.value} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {records.error && records.error.status !== model.error.value?.status && <Failure error={records.error} retry={records.load} />}
      <main class="sweeps">
        {!known && !model.error.value && <p class="empty">Loading the sweeps …</p>}
        {known && !sweeps.length && (
          <div class="empty">
            <p>No run of this project belongs to a sweep. This searches with <code>rundial.compat.wandb</code>, on this machine:</p>
            <Copyable text={SNIPPET} block />
          </div>
        )}
        {known && sweeps.length > 0 && asked !== null && !open && (
          <p class="empty">There is no sweep {asked} in this project. <a class="act" href={all}>all sweeps</a></p>
        )}
        {known && asked === null && sweeps.length > 1 && <List sweeps={sweeps} all={all} />}
        {open && sweeps.length > 1 && <p class="back"><a class="act" href={all}>← all {sweeps.length} sweeps</a></p>}
        {open && <OneSweep key={open.id} sweep={open} place={place} took={took} />}
      </main>
    </>
  );
}

function List({ sweeps, all }: { sweeps: readonly Sweep[]; all: string }) {
  return (
    <div class="scroll-x" tabIndex={0} role="group" aria-label="Sweeps">
      <table class="rows sweep-list">
        <thead><tr><th>Sweep</th><th>Method</th><th>State</th><th>Runs</th><th class="figure">Best</th><th>By</th><th class="figure">Last heard</th></tr></thead>
        <tbody>
          {sweeps.map((sweep) => {
            const goal = goalOf(sweep);
            const best = goal && ranked(sweep.runs, goal)[0];
            const value = best ? goalValue(best, goal) : null;
            return (
              <tr key={sweep.id}>
                <td class="sweep-name"><a href={`${all}?sweep=${encodeURIComponent(sweep.id)}`} title={sweep.id}>{sweepName(sweep)}</a></td>
                <td class="muted">{sweep.record?.method || "–"}</td>
                <td><State sweep={sweep} /></td>
                <td><Counts sweep={sweep} /></td>
                <td class="figure">{value === null ? "–" : <span title={goalWords(sweep, goal!.field)}><span class="muted">{goalWords(sweep, goal!.field)}</span> {number(value)}</span>}</td>
                <td class="best-name">{value !== null && <a href={link("runs", best!.runId)}>{best!.runName}</a>}</td>
                <td class="figure muted"><Ago timeMs={sweep.updatedAtMs} /></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
