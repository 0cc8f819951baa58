import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Run } from "../../api";
import { runColor } from "../../colors";
import { plain } from "../../format";
import { link, route, setQuery } from "../../router";
import { listText, parseList } from "../runs/columns";
import { fieldValue } from "../runs/fields";
import { Menu } from "../runs/menu";
import { type Axis, axisFields, axisOf, usualAxes } from "./axes";
import { shadeOf, short, useWidth } from "./frame";

const HEIGHT = 440;
const TOP = 36;
const BOTTOM = 16;
const SIDE = 90;
/** Between two axes, by the room there is. */
const LEAST_GAP = 130;
const MOST_GAP = 280;
const WIDEST = 1600;
const USUAL = 7;
const GRIP = 14;
/** A drag shorter than this part of an axis takes the range away. */
const SHORTEST = 0.01;

type Range = readonly [low: number, high: number];

interface ParallelProps {
  runs: readonly Run[];
  /** The axes at first, when others than those by which the runs differ. */
  first?: readonly string[];
  /** The field whose colour the lines have unless someone wants otherwise; else that is the last axis, if he wants. */
  by?: string;
}

/** An axis for each field and a line for each run; a drag along an axis leaves the runs that pass there. */
export function Parallel({ runs, first, by }: ParallelProps) {
  const usual = useMemo(() => first ?? usualAxes(runs, USUAL), [runs, first]);
  const fields = parseList(route.value.query.get("axes")) ?? usual;
  const all = useMemo(() => axisFields(runs), [runs]);
  const axes = fields.map((field) => axisOf(runs, field, null));
  const asked = route.value.query.get("ranges");
  const shade = (route.value.query.get("shade") ?? (by ? "1" : "0")) === "1";
  const shading = by ? axisOf(runs, by, null) : axes.at(-1);
  const dragged = useSignal<ReadonlyMap<string, Range> | null>(null);
  const ranges = dragged.value ?? rangesOf(asked);
  const keep = (next: ReadonlyMap<string, Range>) => {
    dragged.value = null;
    setQuery({ ranges: next.size ? JSON.stringify([...next]) : null }, true);
  };
  const set = (next: readonly string[]) => setQuery({ axes: listText(next) }, true);
  const passing = runs.filter((run) => [...ranges].every(([field, [low, high]]) => {
    const at = axes.find((axis) => axis.field === field)?.place(run);
    return at === undefined || (at !== null && at >= low && at <= high);
  }));
  return (
    <>
      <div class="controls">
        <Menu words="axes" label="Axes">
          {() => (
            <div class="choices">
              {all.map((field) => (
                <label key={field} title={field}>
                  <input type="checkbox" checked={fields.includes(field)} onChange={() => set(fields.includes(field) ? fields.filter((one) => one !== field) : [...fields, field])} />
                  <span>{field}</span>
                </label>
              ))}
            </div>
          )}
        </Menu>
        {axes.length > 1 && shading && (
          <label title="From blue, the lowest, to orange, the highest">
            <input type="checkbox" checked={shade} onChange={(event) => setQuery({ shade: event.currentTarget.checked ? "1" : by ? "0" : null }, true)} />
            colour by {short(shading.words)}
          </label>
        )}
        <span class="muted">{passing.length} of {runs.length} runs pass</span>
        {ranges.size > 0 && <button onClick={() => keep(new Map())}>all runs</button>}
        {passing.length < runs.length && passing.length > 0 && (
          <button onClick={() => setQuery({ runs: passing.map((run) => run.runId).join(","), ranges: null }, true)}>compare only these</button>
        )}
      </div>
      {axes.length < 2
        ? <p class="empty">Choose two axes or more.</p>
        : <Picture runs={runs} passing={new Set(passing)} axes={axes} ranges={ranges} shade={shade && shading ? shading : null} onRange={(field, range, done) => {
            const next = new Map(ranges);
            if (range) next.set(field, range);
            else next.delete(field);
            if (done) keep(next);
            else dragged.value = next;
          }} />}
    </>
  );
}

/** The ranges in the address; whatever else stands there is none. */
function rangesOf(text: string | null): Map<string, Range> {
  try {
    const found: unknown = JSON.parse(text ?? "[]");
    if (!Array.isArray(found)) return new Map();
    const isRange = (it: unknown): it is [string, Range] => Array.isArray(it) && typeof it[0] === "string" && Array.isArray(it[1]) && it[1].length === 2 && it[1].every(Number.isFinite);
    return new Map(found.filter(isRange));
  } catch {
    // Someone changed the address by hand.
    return new Map();
  }
}

interface PictureProps {
  runs: readonly Run[];
  passing: ReadonlySet<Run>;
  axes: readonly Axis[];
  ranges: ReadonlyMap<string, Range>;
  /** The axis whose colour the lines have, instead of their run's. */
  shade: Axis | null;
  /** While it is dragged, and once more when it is done. */
  onRange(field: string, range: Range | null, done: boolean): void;
}

function Picture({ runs, passing, axes, ranges, shade, onRange }: PictureProps) {
  const hovered = useSignal<Run | null>(null);
  const { box, width: room } = useWidth(WIDEST);
  const gap = Math.min(MOST_GAP, Math.max(LEAST_GAP, (room.value - 2 * SIDE) / (axes.length - 1)));
  const width = 2 * SIDE + gap * (axes.length - 1);
  const across = (place: number) => SIDE + gap * place;
  const down = (at: number) => HEIGHT - BOTTOM - at * (HEIGHT - BOTTOM - TOP);
  const drag = (axis: Axis, event: PointerEvent) => {
    const area = event.currentTarget as SVGRectElement;
    const box = area.getBoundingClientRect();
    const at = (y: number) => Math.min(1, Math.max(0, 1 - (y - box.top) / box.height));
    const start = at(event.clientY);
    area.setPointerCapture(event.pointerId);
    const to = (y: number): Range => [Math.min(start, at(y)), Math.max(start, at(y))];
    area.onpointermove = (move) => onRange(axis.field, to(move.clientY), false);
    area.onpointerup = area.onpointercancel = (up) => {
      area.onpointermove = null;
      const [low, high] = to(up.clientY);
      onRange(axis.field, high - low < SHORTEST ? null : [low, high], true);
    };
  };
  const color = (run: Run) => (shade ? shadeOf(shade.place(run)) : runColor(run.runId));
  const words = (run: Run) => `${run.runName}: ${axes.map((axis) => `${axis.words} ${plain(fieldValue(run, axis.field) ?? "–")}`).join(", ")}`;
  const order = [...runs].sort((a, b) => Number(passing.has(a)) - Number(passing.has(b)) || Number(a === hovered.value) - Number(b === hovered.value));
  return (
    <figure class="drawing" ref={box}>
      <div class="scroll-x">
        <svg viewBox={`0 0 ${width} ${HEIGHT}`} style={{ width: `${width}px` }} role="group" aria-label="Parallel coordinates">
          {order.map((run) => {
            const path = line(axes.map((axis, place) => ({ left: across(place), at: axis.place(run) })), down);
            const state = !passing.has(run) ? "out" : hovered.value === run ? "hovered" : hovered.value ? "back" : "";
            return (
              <a
                key={run.runId} href={link("runs", run.runId)} aria-label={words(run)} data-run={run.runId} data-passes={passing.has(run)}
                onMouseEnter={() => (hovered.value = run)} onMouseLeave={() => (hovered.value = null)}
                onFocus={() => (hovered.value = run)} onBlur={() => (hovered.value = null)}
              >
                <path class="reach" d={path} />
                <path class={`strand ${state}`} d={path} style={{ stroke: color(run) }} />
              </a>
            );
          })}
          {axes.map((axis, place) => {
            const range = ranges.get(axis.field);
            return (
              <g key={axis.field} data-axis={axis.field}>
                <line class="axis-line" x1={across(place)} x2={across(place)} y1={down(0)} y2={down(1)} />
                <text class="axis-name" x={across(place)} y={16} text-anchor="middle"><title>{axis.field}</title>{short(axis.words)}{axis.log ? " (log)" : ""}</text>
                {axis.ticks.map((tick) => <text key={tick.words} class="tick" x={across(place) - 6} y={down(tick.at) + 4} text-anchor="end">{short(tick.words)}</text>)}
                {range && <rect class="range" x={across(place) - GRIP / 2} width={GRIP} y={down(range[1])} height={down(range[0]) - down(range[1])} />}
                <rect class="grip" x={across(place) - GRIP / 2} width={GRIP} y={down(1)} height={down(0) - down(1)} onPointerDown={(event) => drag(axis, event)} />
              </g>
            );
          })}
        </svg>
      </div>
      <figcaption>{hovered.value ? words(hovered.value) : "Drag along an axis to choose a range; a click on it takes the range away."}</figcaption>
    </figure>
  );
}

/** A line from axis to axis, which breaks where the run has no value. */
function line(points: readonly { left: number; at: number | null }[], down: (at: number) => number): string {
  let pen = "M";
  return points.map(({ left, at }) => {
    if (at === null) {
      pen = "M";
      return "";
    }
    const part = `${pen}${left} ${down(at).toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}
