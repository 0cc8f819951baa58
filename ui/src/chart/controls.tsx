import type { XAxis } from "../api";
import { setQuery } from "../router";
import { fieldWords } from "../views/runs/fields";
import { Menu } from "../views/runs/menu";
import { toggled } from "./kept";
import { markerWord } from "./markers";
import { axisMetric, chartView, metricAxis, metricFilter, setHidden, setSmoothing, setSwitch, setX, setZoom } from "./view";

const AXES: [XAxis, string][] = [
  ["step", "step"],
  ["relative", "relative time"],
  ["wall", "wall time"],
];

interface ControlsProps {
  metrics: readonly string[];
  /** Whether runs have defined metrics as the axes of others. */
  defined: boolean;
  /** Fields by which runs can be grouped. */
  fields: readonly string[];
  kinds: readonly string[];
  /** How many metrics runs have defined as hidden. */
  left: number;
  filterKey: boolean;
}

/** The one row of controls that all charts of a view share. */
export function ChartControls({ metrics, defined, fields, kinds, left, filterKey }: ControlsProps) {
  const view = chartView.value;
  const { problem } = metricFilter(view.metrics);
  return (
    <div class="controls chart-controls">
      <AxisSelect metrics={metrics} defined={defined} />
      <label title="[ and ] change it">
        smoothing
        <input
          type="range" min="0" max="0.99" step="0.01" value={view.smoothing}
          onInput={(event) => setSmoothing(Number(event.currentTarget.value))}
        />
        <output>{view.smoothing.toFixed(2)}</output>
      </label>
      <label>
        <input type="checkbox" checked={view.log} onChange={(event) => setSwitch("log", event.currentTarget.checked)} />
        log y
      </label>
      {fields.length > 0 && <GroupSelect fields={fields} />}
      <Menu words="options" label="How charts are drawn">{() => <Options kinds={kinds} left={left} />}</Menu>
      {view.zoom && <button onClick={() => setZoom(null)} title="A double click on a chart does the same">reset zoom</button>}
      <span class="search">
        <input
          type="search" class="filter" placeholder={filterKey ? "filter metrics  /" : "filter metrics"}
          aria-label="Filter metrics by a regular expression" title={problem ?? "A regular expression, in whatever case"}
          aria-invalid={problem !== null} data-filter={filterKey ? "" : undefined}
          value={view.metrics} onInput={(event) => setQuery({ m: event.currentTarget.value })}
        />
        {problem && <span class="problem" role="status">{problem}; taken as plain text</span>}
      </span>
    </div>
  );
}

function AxisSelect({ metrics, defined }: Pick<ControlsProps, "metrics" | "defined">) {
  const { x } = chartView.value;
  const chosen = x && axisMetric(x);
  const names = chosen && !metrics.includes(chosen) ? [chosen, ...metrics] : metrics;
  return (
    <label>
      x
      <select
        aria-label="x axis" value={x ?? (defined ? "" : "step")}
        onChange={({ currentTarget: { value } }) => setX(value === "" || (value === "step" && !defined) ? null : (value as XAxis))}
      >
        {defined && <option value="">as defined</option>}
        {AXES.map(([value, words]) => <option key={value} value={value}>{words}</option>)}
        <optgroup label="Metrics">
          {names.map((name) => <option key={name} value={metricAxis(name)}>{name}</option>)}
        </optgroup>
      </select>
    </label>
  );
}

function GroupSelect({ fields }: Pick<ControlsProps, "fields">) {
  const { group } = chartView.value;
  const names = group && !fields.includes(group) ? [group, ...fields] : fields;
  return (
    <label title="One line for each value: the mean of its runs, with a band">
      mean by
      <select aria-label="Mean by" value={group ?? ""} onChange={(event) => setQuery({ group: event.currentTarget.value }, true)}>
        <option value="">no group</option>
        {names.map((name) => <option key={name} value={name}>{fieldWords(name)}</option>)}
      </select>
    </label>
  );
}

function Options({ kinds, left }: Pick<ControlsProps, "kinds" | "left">) {
  const { smoother, logX, clip, band, group, hidden, all } = chartView.value;
  return (
    <div class="options">
      <label>
        <input type="checkbox" checked={logX} onChange={(event) => setSwitch("logx", event.currentTarget.checked)} /> log x
      </label>
      <label title="The axis leaves out what lies far outside the middle of the values">
        <input type="checkbox" checked={clip} onChange={(event) => setSwitch("clip", event.currentTarget.checked)} /> clip outliers
      </label>
      <label>
        smoothing
        <select aria-label="Kind of smoothing" value={smoother} onChange={(event) => setQuery({ smoother: event.currentTarget.value === "ema" ? null : event.currentTarget.value }, true)}>
          <option value="ema">moving average (EMA)</option>
          <option value="gaussian">Gaussian</option>
        </select>
      </label>
      {group && (
        <label>
          band
          <select aria-label="Band of a mean" value={band} onChange={(event) => setQuery({ band: event.currentTarget.value === "range" ? null : event.currentTarget.value }, true)}>
            <option value="range">smallest to largest</option>
            <option value="std">standard deviation</option>
          </select>
        </label>
      )}
      {left > 0 && (
        <label title="The run defined them with hidden=True">
          <input type="checkbox" checked={all} onChange={(event) => setSwitch("all", event.currentTarget.checked)} /> hidden metrics ({left})
        </label>
      )}
      {kinds.length > 0 && (
        <fieldset>
          <legend>Markers</legend>
          {kinds.map((kind) => (
            <label key={kind}>
              <input type="checkbox" checked={!hidden.has(kind)} onChange={() => setHidden(toggled(hidden, kind))} /> {markerWord(kind)}
            </label>
          ))}
        </fieldset>
      )}
    </div>
  );
}
