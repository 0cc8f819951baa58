import type { XAxis } from "../api";
import { setQuery } from "../router";
import { chartView, metricFilter, setLog, setSmoothing, setX, setZoom } from "./view";

const AXES: [XAxis, string][] = [
  ["step", "step"],
  ["relative", "relative time"],
  ["wall", "wall time"],
];

/** The one row of controls that all charts of a view share. */
export function ChartControls({ filterKey }: { filterKey: boolean }) {
  const { x, log, smoothing, metrics, zoom } = chartView.value;
  return (
    <div class="controls">
      <label>
        x
        <select aria-label="x axis" value={x} onChange={(event) => setX(event.currentTarget.value as XAxis)}>
          {AXES.map(([value, words]) => <option value={value}>{words}</option>)}
        </select>
      </label>
      <label title="Moving average; [ and ] change it">
        smoothing
        <input
          type="range" min="0" max="0.99" step="0.01" value={smoothing}
          onInput={(event) => setSmoothing(Number(event.currentTarget.value))}
        />
        <output>{smoothing.toFixed(2)}</output>
      </label>
      <label>
        <input type="checkbox" checked={log} onChange={(event) => setLog(event.currentTarget.checked)} />
        log y
      </label>
      {zoom && <button onClick={() => setZoom(null)} title="A double click on a chart does the same">reset zoom</button>}
      <input
        type="search" class="filter" placeholder={filterKey ? "filter metrics  /" : "filter metrics"}
        aria-label="Filter metrics by a regular expression"
        aria-invalid={!metricFilter(metrics).valid} data-filter={filterKey ? "" : undefined}
        value={metrics} onInput={(event) => setQuery({ m: event.currentTarget.value })}
      />
    </div>
  );
}
