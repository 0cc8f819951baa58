import { useComputed } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Run } from "../../api";
import type { ChartContext, ChartRun } from "../../chart/chart";
import { ChartControls } from "../../chart/controls";
import { ChartGrid } from "../../chart/grid";
import { useHover } from "../../chart/hover";
import { chartView } from "../../chart/view";
import { count } from "../../format";
import { Header } from "../../parts/header";
import { Failure, QuickStart } from "../../parts/notice";
import { route, setQuery } from "../../router";
import { matchesRun, parseSort, primaryColumns, sorted, sortText } from "./columns";
import { ProjectModel } from "./model";
import { RunsTable } from "./table";

const SHOWN_AT_FIRST = 10;
const NO_MARKERS: ChartContext["markers"] = new Map();

export function ProjectView({ workspace, project }: { workspace: string; project: string }) {
  const model = useMemo(() => new ProjectModel(workspace, project), []);
  useEffect(() => {
    document.title = `${project} · Rundial`;
    return () => model.close();
  }, []);
  const runs = model.runs.value;
  return (
    <>
      <Header place={{ workspace, project }} stream={model.stream.value} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {runs ? (
        runs.size ? <Filled model={model} runs={runs} /> : <main class="page"><QuickStart project={project} /></main>
      ) : (
        !model.error.value && <main class="page"><p class="muted">Loading runs …</p></main>
      )}
    </>
  );
}

function Filled({ model, runs }: { model: ProjectModel; runs: ReadonlyMap<string, Run> }) {
  const hover = useHover();
  const query = route.value.query;
  const filter = query.get("q") ?? "";
  const sort = query.get("sort");
  // The order is made when someone asks for one, not whenever a value changes: rows must not move by themselves.
  const ids = [...runs.keys()].join();
  const order = useMemo(() => sorted([...runs.values()], parseSort(sort)).map((run) => run.runId), [ids, sort]);
  const columns = useMemo(() => primaryColumns(runs.values()), [ids, model.metrics.value.length]);
  const rows = order.flatMap((runId) => runs.get(runId) ?? []).filter((run) => matchesRun(run, filter));
  const visible = useVisible(runs);

  const shownKey = rows.filter((run) => visible.has(run.runId)).map((run) => run.runId + run.runName).join();
  const shown = useMemo<ReadonlyMap<string, ChartRun>>(
    () => new Map(rows.filter((run) => visible.has(run.runId)).map((run) => [run.runId, { name: run.runName, startedAtMs: run.startedAtMs }])),
    [shownKey],
  );
  const { x, zoom } = chartView.value;
  useEffect(() => {
    const starts = new Map([...shown].map(([runId, run]) => [runId, run.startedAtMs]));
    model.store.setScope({ runs: starts, x, zoom });
  }, [shown, x, zoom]);

  const toggle = (runId: string) => {
    const next = new Set(visible);
    if (!next.delete(runId)) next.add(runId);
    setQuery({ runs: [...next].join(",") || "none" });
  };
  const sortBy = (column: string) => {
    const present = parseSort(sort);
    const again = present?.column === column;
    if (again && !present.descending) setQuery({ sort: null }, true);
    else setQuery({ sort: sortText({ column, descending: !again }) }, true);
  };
  const context: ChartContext = { store: model.store, runs: shown, markers: NO_MARKERS, hover };
  return (
    <main class="split">
      <div class="list">
        <div class="controls">
          <b>{count(runs.size, "run")}</b>
          <span class="muted">{shown.size} shown</span>
          <button onClick={() => setQuery({ runs: rows.map((run) => run.runId).join(",") || "none" })}>all</button>
          <button onClick={() => setQuery({ runs: "none" })}>none</button>
          <input
            type="search" class="filter" data-filter="" placeholder="filter runs  /" aria-label="Filter runs by name, id, status or tag"
            value={filter} onInput={(event) => setQuery({ q: event.currentTarget.value })}
          />
        </div>
        <Arrived model={model} />
        <div class="scroll">
          <RunsTable {...{ rows, columns, visible }} hovered={hover.now} sort={parseSort(sort)} onSort={sortBy} onToggle={toggle} />
          {!rows.length && <p class="empty">No run matches “{filter}”.</p>}
          {model.nextCursor.value && (
            <p class="empty">
              The newest {runs.size.toLocaleString("en-US")} runs. <button onClick={() => model.loadMore()}>Load more</button>
            </p>
          )}
        </div>
      </div>
      <div class="panel">
        <ChartControls filterKey={false} />
        <div class="scroll">
          {shown.size ? <ChartGrid metrics={model.metrics.value} context={context} /> : <p class="empty">No run is shown. The dots in the table show and hide runs.</p>}
        </div>
      </div>
    </main>
  );
}

/** Which runs the charts show: those the address names, or the first ten. */
function useVisible(runs: ReadonlyMap<string, Run>): ReadonlySet<string> {
  const chosen = useComputed(() => route.value.query.get("runs")).value;
  const ids = [...runs.keys()].slice(0, SHOWN_AT_FIRST).join();
  return useMemo(() => new Set(chosen === null ? ids.split(",") : chosen.split(",")), [chosen, ids]);
}

function Arrived({ model }: { model: ProjectModel }) {
  const waiting = model.arrived.value.size;
  if (!waiting) return null;
  return <button class="arrived" onClick={() => model.showArrived()}>{count(waiting, "new run")}</button>;
}
