import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import type { ChartContext } from "../../chart/chart";
import { ChartGrid } from "../../chart/grid";
import { useHover } from "../../chart/hover";
import { chartView } from "../../chart/view";
import type { RunModel } from "./model";

const PREFIX = "system/";

/** Whether a metric is one of the machine's, which have a tab of their own. */
export function isSystem(metric: string): boolean {
  return metric.startsWith(PREFIX);
}

/** What the machine did, over the time since the run began. */
export function System({ run, model }: { run: RunDetail; model: RunModel }) {
  const hover = useHover();
  const { zoom } = chartView.value;
  const { runId, runName: name, startedAtMs } = run;
  useEffect(() => model.store.setScope({ runs: new Map([[runId, startedAtMs]]), x: "relative", zoom }), [zoom, startedAtMs]);
  const runs = useMemo(() => new Map([[runId, { name, startedAtMs }]]), [name, startedAtMs]);
  const markers = useMemo(() => new Map([[runId, model.markers.value]]), [model.markers.value]);
  const context: ChartContext = { store: model.store, runs, markers, hover, x: "relative" };
  const metrics = model.metrics.value.filter(isSystem);
  if (!metrics.length) return <p class="empty">No system metrics. They are sampled unless <code>system_metrics=False</code>.</p>;
  return <div class="panel"><ChartGrid metrics={metrics} context={context} /></div>;
}
