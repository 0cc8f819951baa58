import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { ChartPanel } from "../../chart/panel";
import { count } from "../../format";
import { Header } from "../../parts/header";
import { Failure } from "../../parts/notice";
import { Tabs } from "../../parts/tabs";
import { link, route, setQuery } from "../../router";
import { Code } from "./code";
import "./compare.css";
import { Differences } from "./differences";
import { MediaBeside } from "./media";
import { CompareModel } from "./model";
import { Parallel } from "./parallel";
import { Scatter } from "./scatter";

const TABS: [string, string][] = [
  ["differences", "Differences"],
  ["charts", "Charts"],
  ["parallel", "Parallel coordinates"],
  ["scatter", "Scatter"],
  ["media", "Media"],
  ["code", "Code"],
];

interface Place {
  workspace: string;
  project: string;
}

/** The runs that the address names, side by side. */
export function CompareView({ workspace, project }: Place) {
  const ids = route.value.query.get("runs") ?? "";
  return <Comparison key={ids} place={{ workspace, project }} runIds={[...new Set(ids.split(",").filter(Boolean))]} />;
}

function Comparison({ place, runIds }: { place: Place; runIds: readonly string[] }) {
  const model = useMemo(() => new CompareModel(runIds), []);
  useEffect(() => {
    document.title = `Compare · ${place.project} · Rundial`;
    return () => model.close();
  }, []);
  const runs = model.runs.value;
  const missing = model.missing.value.length;
  return (
    <>
      <Header place={place} stream={model.stream.value} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {missing > 0 && <p class="notice">{count(missing, "run")} of this address {missing === 1 ? "does" : "do"} not exist any more.</p>}
      {runs ? <Loaded model={model} runs={runs} place={place} /> : !model.error.value && <main class="page"><p class="muted">Loading {count(runIds.length, "run")} …</p></main>}
    </>
  );
}

function Loaded({ model, runs, place }: { model: CompareModel; runs: readonly RunDetail[]; place: Place }) {
  const asked = route.value.query.get("tab");
  const tab = TABS.find(([name]) => name === asked)?.[0] ?? "differences";
  const back = link("p", place.workspace, place.project);
  if (!runs.length) {
    return <main class="page"><p class="empty">No runs to compare. Select some in <a class="act" href={back}>the table</a>, then press <kbd>c</kbd>.</p></main>;
  }
  return (
    <main class="compare run">
      <div class="run-line"><h1>{count(runs.length, "run")} compared</h1></div>
      <Tabs label="Comparison" tabs={TABS} now={tab} onTab={(name) => setQuery({ tab: name === "differences" ? null : name, zoom: null }, true)} />
      {tab === "differences" && <Differences runs={runs} />}
      {tab === "charts" && <ChartPanel store={model.store} metrics={model.metrics.value} runs={runs} filterKey legend />}
      {tab === "parallel" && <Parallel runs={runs} />}
      {tab === "scatter" && <Scatter runs={runs} />}
      {tab === "media" && <MediaBeside runs={runs} />}
      {tab === "code" && <Code runs={runs} />}
    </main>
  );
}
