import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { ChartPanel } from "../../chart/panel";
import { count, number } from "../../format";
import { Header } from "../../parts/header";
import { useIcon } from "../../parts/icon";
import { Failure } from "../../parts/notice";
import { Status } from "../../parts/status";
import { Tabs } from "../../parts/tabs";
import { Lasted } from "../../parts/time";
import { route, setQuery } from "../../router";
import { Artifacts } from "./artifacts";
import { CodeView } from "./code";
import { Delivery } from "./delivery";
import { Dials } from "./dials";
import { Evals } from "./evals";
import { Events } from "./events";
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
  ["code", "Code"],
  ["events", "Events"],
  ["delivery", "Delivery"],
];

/** What one looked for in a tab is not looked for in the next. */
const FOUND = { q: null, find: null };

export function RunView({ runId }: { runId: string }) {
  const model = useMemo(() => new RunModel(runId), []);
  useEffect(() => () => model.close(), []);
  const run = model.run.value;
  const tab = route.value.query.get("tab");
  const words = TABS.find(([name]) => name === tab)?.[1];
  useEffect(() => {
    document.title = `${run?.runName ?? runId} · ${words ? `${words} · ` : ""}Rundial`;
  }, [run?.runName, words]);
  useIcon(run?.status);
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
      <Tabs label="Run" tabs={TABS} now={tab} onTab={(name) => setQuery({ ...FOUND, tab: name === "charts" ? null : name, zoom: null }, true)} />
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
      {tab === "code" && <CodeView run={run} model={model} />}
      {tab === "events" && <Events run={run} model={model} />}
      {tab === "delivery" && <Delivery run={run} />}
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
      {run.primaryMetric?.value != null && <span class="figure best" title={`the ${run.primaryMetric.mode} of ${run.primaryMetric.name}: ${run.primaryMetric.value}`}><span class="muted">{run.primaryMetric.name}</span> {number(run.primaryMetric.value)}{run.primaryMetric.step !== null && <span class="muted"> at {run.primaryMetric.step.toLocaleString("en-US")}</span>}</span>}
      {run.reason && <span class="reason" title={run.reason}>{run.reason}</span>}
    </div>
  );
}

function Charts({ model, run }: { model: RunModel; run: RunDetail }) {
  const metrics = model.metrics.value.filter((metric) => !isSystem(metric));
  return <ChartPanel store={model.store} metrics={metrics} runs={[run]} markers={model.markers.value} filterKey />;
}
