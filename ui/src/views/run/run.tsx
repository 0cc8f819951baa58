import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import type { ChartContext } from "../../chart/chart";
import { ChartControls } from "../../chart/controls";
import { ChartGrid } from "../../chart/grid";
import { useHover } from "../../chart/hover";
import { chartView } from "../../chart/view";
import { count } from "../../format";
import { Header } from "../../parts/header";
import { Failure } from "../../parts/notice";
import { Status } from "../../parts/status";
import { Lasted } from "../../parts/time";
import { route, setQuery } from "../../router";
import { Artifacts } from "./artifacts";
import { Dials } from "./dials";
import { Evals } from "./evals";
import { RunModel } from "./model";
import { Logs } from "./logs";
import { Media } from "./media";
import { Overview } from "./overview";
import { isSystem, System } from "./system";
import { Tables } from "./tables";
import { Traces } from "./traces";

const TABS: [string, string][] = [
  ["overview", "Overview"],
  ["charts", "Charts"],
  ["system", "System"],
  ["logs", "Logs"],
  ["dials", "Dials"],
  ["media", "Media"],
  ["tables", "Tables"],
  ["artifacts", "Artifacts"],
  ["traces", "Traces"],
  ["evals", "Evals"],
];

export function RunView({ runId }: { runId: string }) {
  const model = useMemo(() => new RunModel(runId), []);
  useEffect(() => () => model.close(), []);
  const run = model.run.value;
  useEffect(() => {
    document.title = `${run?.runName ?? runId} · Rundial`;
  }, [run?.runName]);
  const place = run ? { workspace: run.workspaceSlug, project: run.projectSlug } : undefined;
  return (
    <>
      <Header place={place} stream={model.stream} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {run ? <Loaded model={model} run={run} /> : !model.error.value && <main class="page"><p class="muted">Loading the run …</p></main>}
    </>
  );
}

function Loaded({ model, run }: { model: RunModel; run: RunDetail }) {
  const asked = route.value.query.get("tab");
  const tab = TABS.some(([name]) => name === asked) ? asked! : "charts";
  return (
    <main class="run">
      <RunLine model={model} run={run} />
      <nav class="tabs">
        {TABS.map(([name, words]) => (
          <button
            key={name} aria-current={tab === name ? "page" : undefined}
            onClick={() => setQuery({ tab: name === "charts" ? null : name, zoom: null }, true)}
          >
            {words}
          </button>
        ))}
      </nav>
      {tab === "artifacts" && <Artifacts run={run} model={model} />}
      {tab === "overview" && <Overview run={run} markers={model.markers.value} />}
      {tab === "charts" && <Charts model={model} run={run} />}
      {tab === "system" && <System model={model} run={run} />}
      {tab === "dials" && <Dials model={model} run={run} />}
      {tab === "logs" && <Logs model={model} run={run} />}
      {tab === "media" && <Media model={model} run={run} />}
      {tab === "tables" && <Tables model={model} run={run} />}
      {tab === "traces" && <Traces model={model} run={run} />}
      {tab === "evals" && <Evals run={run} model={model} />}
    </main>
  );
}

function RunLine({ model, run }: { model: RunModel; run: RunDetail }) {
  const speed = run.status === "running" ? model.stepsPerSecond.value : null;
  const step = model.step.value;
  return (
    <div class="run-line">
      <h1 title={run.runName}>{run.runName}</h1>
      <Status status={run.status} />
      <span class="figure"><Lasted startMs={run.startedAtMs} endMs={run.finishedAtMs} /></span>
      {step !== null && <span class="figure">step {step.toLocaleString("en-US")}</span>}
      {speed !== null && <span class="figure">{Number(speed.toPrecision(3))} steps/s</span>}
      {run.attempts.length > 1 && <span>{count(run.attempts.length, "attempt")}</span>}
      {run.reason && <span class="reason" title={run.reason}>{run.reason}</span>}
    </div>
  );
}

function Charts({ model, run }: { model: RunModel; run: RunDetail }) {
  const hover = useHover();
  const { x, zoom } = chartView.value;
  const { runId, runName: name, startedAtMs } = run;
  useEffect(() => model.store.setScope({ runs: new Map([[runId, startedAtMs]]), x, zoom }), [x, zoom, startedAtMs]);
  const runs = useMemo(() => new Map([[runId, { name, startedAtMs }]]), [name, startedAtMs]);
  const markers = useMemo(() => new Map([[runId, model.markers.value]]), [model.markers.value]);
  const context: ChartContext = { store: model.store, runs, markers, hover };
  return (
    <div class="panel">
      <ChartControls filterKey />
      <ChartGrid metrics={model.metrics.value.filter((metric) => !isSystem(metric))} context={context} />
    </div>
  );
}
