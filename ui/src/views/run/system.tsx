import type { RunDetail } from "../../api";
import { ChartPanel } from "../../chart/panel";
import type { RunModel } from "./model";

const PREFIX = "system/";

/** Whether a metric is one of the machine's, which have a tab of their own. */
export function isSystem(metric: string): boolean {
  return metric.startsWith(PREFIX);
}

/** What the machine did, over the time since the run began. */
export function System({ run, model }: { run: RunDetail; model: RunModel }) {
  const metrics = model.metrics.value.filter(isSystem);
  if (!metrics.length) return <p class="empty">No system metrics. They are sampled unless <code>system_metrics=False</code>.</p>;
  return <ChartPanel store={model.store} metrics={metrics} runs={[run]} markers={model.markers.value} filterKey={false} fixed="relative" />;
}
