import { useEffect, useMemo } from "preact/hooks";
import type { Marker, Run, XAxis } from "../api";
import { differing, knownFields } from "../views/runs/fields";
import type { ChartContext, ChartRun } from "./chart";
import { ChartControls } from "./controls";
import "./chart.css";
import { stepMetrics } from "./definitions";
import { ChartGrid } from "./grid";
import { groupingBy } from "./grouping";
import { type Hover, useHover } from "./hover";
import { toggled, useKept } from "./kept";
import type { SeriesStore } from "./store";
import { axisMetric, chartView } from "./view";

interface PanelProps {
  store: SeriesStore;
  metrics: readonly string[];
  /** The runs that are shown, in the order of the table. */
  runs: readonly Run[];
  /** Those of the one run; without, they are read for all that are shown. */
  markers?: readonly Marker[];
  /** Shared with a table beside the charts. */
  hover?: Hover;
  /** Whether `/` leads to the charts' own filter. */
  filterKey: boolean;
  /** Whether the names of the runs stand nowhere else. */
  legend?: boolean;
  /** The axis of these charts, whatever the address says; they then have no controls. */
  fixed?: XAxis;
}

const GROUP_FACTS = ["group", "job", "status"];

/** The controls and the charts of a view. */
export function ChartPanel({ store, metrics, runs, markers, hover, filterKey, legend = false, fixed }: PanelProps) {
  const own = useHover();
  const view = chartView.value;
  const place = runs[0] ? `${runs[0].workspaceSlug}/${runs[0].projectSlug}` : "";
  const [pinned, setPinned] = useKept("pin", place);
  const shown = useShown(runs);
  const definitions = stepMetrics(runs);
  const axes = fixed ?? view.x ?? `defined ${JSON.stringify([...definitions.entries])}`;
  const xOf = useMemo(() => (metric: string): XAxis => fixed ?? view.x ?? definitions.axisOf(metric), [axes]);
  const zoom = JSON.stringify(view.zoom);
  useEffect(() => {
    const starts = new Map([...shown].map(([runId, run]) => [runId, run.startedAtMs]));
    store.setScope({ runs: starts, xOf, axes, logX: view.logX, zoom: view.zoom });
    if (!markers) void store.markers.want([...shown.keys()]);
  }, [shown, axes, view.logX, zoom]);

  const over = [...new Set(metrics.map((metric) => axisMetric(xOf(metric))))].filter((metric) => metric !== null).sort();
  const marks = markers ?? store.markers.all.value;
  useEffect(() => {
    if (over.length && shown.size) void store.markers.readSteps(over, [...shown.keys()]);
  }, [over.join("\n"), shown, marks]);

  const left = metrics.filter((metric) => definitions.isHidden(metric));
  const drawn = left.length && !view.all ? metrics.filter((metric) => !left.includes(metric)) : metrics;
  const fields = runs.length > 1 ? groupFields(runs) : [];
  const groups = view.group && runs.length > 1 ? groupingBy(view.group, runs) : null;
  const grouping = useMemo(() => groups, [groups && JSON.stringify([...groups.groups])]);
  const known = markers ? null : store.markers.all.value;
  const placed = useMemo(() => known ?? new Map([...shown.keys()].map((runId) => [runId, markers ?? []])), [known, markers, shown]);
  const kinds = useMemo(() => [...new Set([...shown.keys()].flatMap((id) => (placed.get(id) ?? []).map(({ kind }) => kind)))].sort(), [placed, shown]);
  const pin = (metric: string) => setPinned(toggled(pinned, metric));
  const context: ChartContext = { store, runs: shown, markers: placed, steps: store.markers.steps.value, hover: hover ?? own, xOf, grouping, pinned, pin };
  return (
    <div class="panel">
      {!fixed && <ChartControls metrics={metrics} defined={definitions.entries.size > 0} fields={fields} kinds={kinds} left={left.length} filterKey={filterKey} />}
      <div class="scroll">
        <ChartGrid metrics={drawn} context={context} place={place} legend={legend} />
      </div>
    </div>
  );
}

/** The same map as long as no run comes, goes or gets another name: runs change many times a second. */
function useShown(runs: readonly Run[]): ReadonlyMap<string, ChartRun> {
  const key = runs.map((run) => `${run.runId} ${run.startedAtMs} ${run.runName}`).join();
  return useMemo(() => new Map(runs.map((run) => [run.runId, { name: run.runName, startedAtMs: run.startedAtMs }])), [key]);
}

/** Config that is not the same in all runs, and the facts that group runs by nature. */
function groupFields(runs: readonly Run[]): string[] {
  return [...differing(runs, GROUP_FACTS), ...differing(runs, knownFields(runs).config)];
}
