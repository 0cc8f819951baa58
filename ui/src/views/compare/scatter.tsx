import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { RunDetail } from "../../api";
import { runColor } from "../../colors";
import { plain } from "../../format";
import { link, route, setQuery } from "../../router";
import { fieldValue } from "../runs/fields";
import { type Axis, axisFields, axisOf, usualAxes } from "./axes";

const WIDEST = 1000;
const HEIGHT = 440;
const LEFT = 84;
const BOTTOM = 40;
const TOP = 12;
const MOST_AXES = 7;
const RIGHT = 16;

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
  const box = useRef<HTMLElement>(null);
  const width = useSignal(WIDEST);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => (width.value = Math.min(WIDEST, entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const edge = width.value - RIGHT;
  const across = (at: number) => LEFT + at * (edge - LEFT);
  const down = (at: number) => HEIGHT - BOTTOM - at * (HEIGHT - BOTTOM - TOP);
  const dots = runs.flatMap((run) => {
    const [h, v] = [x.place(run), y.place(run)];
    return h === null || v === null ? [] : [{ run, left: across(h), top: down(v) }];
  });
  const left = runs.length - dots.length;
  const words = (run: RunDetail) => `${run.runName}: ${x.words} ${plain(fieldValue(run, x.field))}, ${y.words} ${plain(fieldValue(run, y.field))}`;
  return (
    <figure class="drawing" ref={box}>
      <svg viewBox={`0 0 ${width.value} ${HEIGHT}`} style={{ width: `${width.value}px` }} role="group" aria-label={`${y.words} over ${x.words}`}>
        {y.ticks.map((tick) => (
          <g key={tick.words}>
            <line class="grid-line" x1={LEFT} x2={edge} y1={down(tick.at)} y2={down(tick.at)} />
            <text class="tick" x={LEFT - 8} y={down(tick.at) + 4} text-anchor="end">{short(tick.words)}</text>
          </g>
        ))}
        {x.ticks.map((tick) => <text key={tick.words} class="tick" x={across(tick.at)} y={HEIGHT - BOTTOM + 16} text-anchor="middle">{short(tick.words)}</text>)}
        <line class="axis-line" x1={LEFT} x2={edge} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} />
        <text class="axis-name" x={(LEFT + edge) / 2} y={HEIGHT - 4} text-anchor="middle">{x.words}</text>
        <text class="axis-name" x={-(HEIGHT - BOTTOM) / 2} y={12} text-anchor="middle" transform="rotate(-90)">{y.words}</text>
        {dots.map(({ run, left: h, top: v }) => (
          <a
            key={run.runId} href={link("runs", run.runId)} aria-label={words(run)} data-run={run.runId}
            onMouseEnter={() => (hovered.value = run)} onMouseLeave={() => (hovered.value = null)}
            onFocus={() => (hovered.value = run)} onBlur={() => (hovered.value = null)}
          >
            <circle cx={h} cy={v} r={hovered.value === run ? 7 : 5} style={{ fill: runColor(run.runId) }} />
          </a>
        ))}
      </svg>
      <figcaption>{hovered.value ? words(hovered.value) : left ? `${left} without a value are left out.` : " "}</figcaption>
    </figure>
  );
}

const LONGEST = 14;

export function short(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}
