import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { runColor } from "../../colors";
import { plain } from "../../format";
import { link, route, setQuery } from "../../router";
import { fieldValue } from "../runs/fields";
import { type Axis, axisFields, axisOf, usualAxes } from "./axes";
import { Frame } from "./frame";

const MOST_AXES = 7;

/** Two fields of every run against each other. */
export function Scatter({ runs }: { runs: readonly RunDetail[] }) {
  const { query } = route.value;
  const fields = useMemo(() => axisFields(runs), [runs]);
  const usual = useMemo(() => usualAxes(runs, MOST_AXES), [runs]);
  const x = query.get("sx") ?? usual[0] ?? "time";
  const y = query.get("sy") ?? usual.at(-1) ?? "step";
  const horizontal = axisOf(runs, x, asked(query.get("slx")));
  const vertical = axisOf(runs, y, asked(query.get("sly")));
  return (
    <>
      <div class="controls">
        <AxisSelect words="x" name="sx" log="slx" fields={fields} axis={horizontal} />
        <AxisSelect words="y" name="sy" log="sly" fields={fields} axis={vertical} />
      </div>
      <Picture runs={runs} x={horizontal} y={vertical} />
    </>
  );
}

function asked(text: string | null): boolean | null {
  return text === null ? null : text === "1";
}

function AxisSelect({ words, name, log, fields, axis }: { words: string; name: string; log: string; fields: readonly string[]; axis: Axis }) {
  return (
    <>
      <label>
        {words}
        <select aria-label={`${words} axis`} value={axis.field} onChange={(event) => setQuery({ [name]: event.currentTarget.value, [log]: null }, true)}>
          {fields.map((field) => <option key={field} value={field}>{field}</option>)}
        </select>
      </label>
      {axis.canLog && (
        <label>
          <input type="checkbox" checked={axis.log} onChange={(event) => setQuery({ [log]: event.currentTarget.checked ? "1" : "0" }, true)} />
          log {words}
        </label>
      )}
    </>
  );
}

function Picture({ runs, x, y }: { runs: readonly RunDetail[]; x: Axis; y: Axis }) {
  const hovered = useSignal<RunDetail | null>(null);
  const dots = runs.flatMap((run) => {
    const [h, v] = [x.place(run), y.place(run)];
    return h === null || v === null ? [] : [{ run, h, v }];
  });
  const left = runs.length - dots.length;
  const words = (run: RunDetail) => `${run.runName}: ${x.words} ${plain(fieldValue(run, x.field))}, ${y.words} ${plain(fieldValue(run, y.field))}`;
  const caption = hovered.value ? words(hovered.value) : left ? `${left} without a value are left out.` : " ";
  return (
    <Frame x={x} y={y} label={`${y.words} over ${x.words}`} role="group" caption={caption}>
      {(across, down) => dots.map(({ run, h, v }) => (
        <a
          key={run.runId} href={link("runs", run.runId)} aria-label={words(run)} data-run={run.runId}
          onMouseEnter={() => (hovered.value = run)} onMouseLeave={() => (hovered.value = null)}
          onFocus={() => (hovered.value = run)} onBlur={() => (hovered.value = null)}
        >
          <circle cx={across(h)} cy={down(v)} r={hovered.value === run ? 7 : 5} style={{ fill: runColor(run.runId) }} />
        </a>
      ))}
    </Frame>
  );
}
