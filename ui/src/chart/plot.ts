// One chart: uPlot gives scales, axes, cursor and selection; the lines are drawn here, because every run has x
// values of its own and uPlot wants one shared column.
import uPlot from "uplot";
import type { Marker, XAxis } from "../api";
import { token } from "../colors";
import { duration, tick } from "../format";
import { type Line, smoothed } from "./line";
import type { Range } from "./view";

export interface Stroke {
  runId: string;
  line: Line;
  color: string;
  dash: number[];
}

export interface PlacedMarker {
  x: number;
  marker: Marker;
  bad: boolean;
  /** The name of the stage that begins here, null for every other marker. */
  stage: string | null;
}

export interface Scene {
  strokes: Stroke[];
  markers: PlacedMarker[];
  smoothing: number;
  zoom: Range | null;
  /** The run the pointer is on, anywhere in the view. */
  hovered: string | null;
}

export interface Frame {
  x: XAxis;
  log: boolean;
}

export interface Reading {
  runId: string;
  value: number;
  min: number;
  max: number;
}

/** What is under the cursor; x in units of the axis, left in CSS pixels. */
export interface CursorAt {
  x: number;
  left: number;
  width: number;
  readings: Reading[];
  nearest: string | null;
  markers: Marker[];
  here: boolean;
}

export interface PlotEvents {
  zoom(range: Range): void;
  reset(): void;
  cursor(at: CursorAt | null): void;
}

const SYNC_KEY = "view";
const AXIS_WIDTH = 46;
const AXIS_HEIGHT = 22;
const NEAR_LINE_PX = 24;
const NEAR_MARKER_PX = 5;
const MIN_DRAG_PX = 4;
/** More bands than this over each other are mud. */
const MOST_BANDS = 12;
const SECONDS = [0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';

export class Plot {
  private readonly u: uPlot;
  private scene: Scene = { strokes: [], markers: [], smoothing: 0, zoom: null, hovered: null };
  private ranges: { x: Range; y: Range } = { x: [0, 1], y: [0, 1] };
  private pointerInside = false;
  private shownZoom: string | null = null;

  constructor(
    host: HTMLElement,
    private readonly frame: Frame,
    private readonly events: PlotEvents,
  ) {
    this.u = new uPlot(this.options(host), this.corners(), host);
    this.u.over.addEventListener("pointerenter", () => (this.pointerInside = true));
    this.u.over.addEventListener("pointerleave", () => {
      this.pointerInside = false;
      this.draw(this.scene);
    });
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const zoom = String(scene.zoom);
    // Nothing rescales under the pointer: the lines grow, the axes wait until it has left.
    const hold = this.pointerInside && zoom === this.shownZoom;
    if (hold) return this.u.redraw(false, false);
    this.shownZoom = scene.strokes.some((stroke) => stroke.line.length) ? zoom : null;
    this.ranges = extent(scene, this.frame.log);
    this.u.setData(this.corners(), true);
  }

  resize(width: number, height: number): void {
    if (width !== this.u.width || height !== this.u.height) this.u.setSize({ width, height });
  }

  destroy(): void {
    this.u.destroy();
  }

  /** uPlot's own data: the two corners of what is shown, so that it has something to scale to. */
  private corners(): uPlot.AlignedData {
    return [[...this.ranges.x], [...this.ranges.y]];
  }

  private options(host: HTMLElement): uPlot.Options {
    const { x, log } = this.frame;
    const line = token("line");
    const axis = { stroke: token("muted"), font: FONT, ticks: { show: false }, grid: { stroke: line, width: 1 } };
    const xValues = (_: uPlot, splits: number[]) => splits.map(x === "relative" ? shortDuration : tick);
    return {
      width: host.clientWidth,
      height: host.clientHeight,
      padding: [8, 10, 0, 0],
      legend: { show: false },
      series: [{}, { paths: () => null, points: { show: false } }],
      scales: {
        x: { time: x === "wall", range: () => [...this.ranges.x] },
        y: { distr: log ? 3 : 1, range: () => [...this.ranges.y] },
      },
      axes: [
        {
          ...axis,
          size: AXIS_HEIGHT,
          gap: 4,
          space: 56,
          grid: { show: false },
          border: { show: true, stroke: line, width: 1 },
          ...(x === "wall" ? {} : { values: xValues }),
          ...(x === "relative" ? { incrs: SECONDS } : {}),
        },
        {
          ...axis,
          size: AXIS_WIDTH,
          gap: 4,
          space: 28,
          values: (_, splits) => splits.map((value) => (value === null ? "" : tick(value))),
          ...(log ? { filter: roundOnly, grid: { ...axis.grid, filter: roundOnly } } : {}),
        },
      ],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: MIN_DRAG_PX },
        sync: {
          key: SYNC_KEY,
          scales: ["x", null],
          filters: { pub: (type) => type === "mousemove" || type === "mouseleave", sub: () => true },
        },
        bind: { dblclick: () => () => (this.events.reset(), null) },
      },
      hooks: {
        draw: [(u) => this.paint(u)],
        setCursor: [(u) => this.events.cursor(this.cursorAt(u))],
        setSelect: [(u) => this.select(u)],
      },
    };
  }

  private select(u: uPlot): void {
    const { left, width } = u.select;
    if (width < MIN_DRAG_PX) return;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.events.zoom([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
  }

  private cursorAt(u: uPlot): CursorAt | null {
    const { left = -1, top = -1 } = u.cursor;
    if (left < 0 || left > u.over.clientWidth) return null;
    const x = u.posToVal(left, "x");
    const readings: Reading[] = [];
    let nearest: string | null = null;
    let distance = NEAR_LINE_PX;
    for (const { runId, line } of this.scene.strokes) {
      const at = line.nearest(x);
      if (at < 0 || Math.abs(u.valToPos(line.x[at]!, "x") - left) > u.over.clientWidth / 8) continue;
      const value = line.mean[at]!;
      readings.push({ runId, value, min: line.min[at]!, max: line.max[at]! });
      const away = Math.abs(u.valToPos(value, "y") - top);
      if (this.pointerInside && away < distance) [nearest, distance] = [runId, away];
    }
    readings.sort((a, b) => b.value - a.value);
    const markers = this.scene.markers
      .filter((placed) => Math.abs(u.valToPos(placed.x, "x") - left) <= NEAR_MARKER_PX)
      .map((placed) => placed.marker);
    return { x, left, width: u.over.clientWidth, readings, nearest, markers, here: this.pointerInside };
  }

  private paint(u: uPlot): void {
    const { ctx, bbox } = u;
    const pixel = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineJoin = "bevel";
    const project = projection(u, this.frame.log);
    const { hovered, smoothing } = this.scene;
    const known = this.scene.strokes.some((stroke) => stroke.runId === hovered);
    const ordered = [...this.scene.strokes].sort((a, b) => Number(a.runId === hovered) - Number(b.runId === hovered));
    for (const stroke of ordered) {
      const alone = ordered.length === 1;
      const strength = !known || stroke.runId === hovered ? 1 : 0.25;
      const { line } = stroke;
      ctx.strokeStyle = ctx.fillStyle = stroke.color;
      ctx.setLineDash(stroke.dash.map((length) => length * pixel));
      ctx.globalAlpha = strength * (alone ? 0.18 : 0.1);
      const banded = ordered.length <= MOST_BANDS || stroke.runId === hovered;
      if (smoothing === 0 && banded) fillBand(ctx, project, line);
      ctx.lineWidth = (known && stroke.runId === hovered && !alone ? 2.5 : 1.5) * pixel;
      if (smoothing > 0) {
        ctx.globalAlpha = strength * 0.25;
        strokeLine(ctx, project, line, line.mean);
      }
      ctx.globalAlpha = strength;
      strokeLine(ctx, project, line, smoothing > 0 ? smoothed(line, smoothing) : line.mean);
    }
    ctx.restore();
    for (const placed of this.scene.markers) drawMarker(u, placed);
  }
}

interface Projection {
  x(value: number): number;
  y(value: number): number;
  /** What is shown, in units of the axis. */
  from: number;
  to: number;
}

/** uPlot's valToPos as plain arithmetic, because it is called for every point. */
function projection(u: uPlot, log: boolean): Projection {
  const from = u.scales.x!.min!;
  const to = u.scales.x!.max!;
  const { min: low, max: high } = u.scales.y!;
  const [x0, x1] = [u.valToPos(from, "x", true), u.valToPos(to, "x", true)];
  const [y0, y1] = [u.valToPos(low!, "y", true), u.valToPos(high!, "y", true)];
  const height = (value: number) => (log ? Math.log10(value) : value);
  const perX = (x1 - x0) / (to - from);
  const perY = (y1 - y0) / (height(high!) - height(low!));
  return {
    from,
    to,
    x: (value) => x0 + (value - from) * perX,
    y: (value) => y0 + (height(value) - height(low!)) * perY,
  };
}

/** The part of a line that can be seen, with one value more on each side so that it runs to the edge. */
function visible(line: Line, { from, to }: Projection): [number, number] {
  return [Math.max(0, line.firstAtOrAfter(from) - 1), Math.min(line.length, line.firstAtOrAfter(to) + 1)];
}

function strokeLine(ctx: CanvasRenderingContext2D, project: Projection, line: Line, values: Float64Array): void {
  const [first, end] = visible(line, project);
  const radius = ctx.lineWidth;
  const lone: [number, number][] = [];
  let drawn = 0;
  ctx.beginPath();
  for (let at = first; at < end; at++) {
    const y = project.y(values[at]!);
    if (!Number.isFinite(y)) {
      drawn = 0;
      continue;
    }
    const x = project.x(line.x[at]!);
    if (drawn++) ctx.lineTo(x, y);
    else ctx.moveTo(x, y);
    const goesOn = at + 1 < end && Number.isFinite(project.y(values[at + 1]!));
    if (drawn === 1 && !goesOn) lone.push([x, y]);
  }
  ctx.stroke();
  // A value between two gaps has no line to lie on.
  for (const [x, y] of lone) {
    ctx.beginPath();
    ctx.arc(x, y, radius, 0, 2 * Math.PI);
    ctx.fill();
  }
}

function fillBand(ctx: CanvasRenderingContext2D, project: Projection, line: Line): void {
  const [first, end] = visible(line, project);
  const floor = (value: number) => {
    const y = project.y(value);
    return Number.isFinite(y) ? y : 1e6;
  };
  let start = first;
  while (start < end) {
    while (start < end && !(line.min[start]! < line.max[start]!)) start++;
    let stop = start;
    while (stop < end && !Number.isNaN(line.mean[stop]!)) stop++;
    if (stop > start) {
      ctx.beginPath();
      for (let at = start; at < stop; at++) ctx.lineTo(project.x(line.x[at]!), floor(line.max[at]!));
      for (let at = stop - 1; at >= start; at--) ctx.lineTo(project.x(line.x[at]!), floor(line.min[at]!));
      ctx.fill();
    }
    start = stop + 1;
  }
}

/** A stage begins: a dashed line over the whole height, so that buckets of a run can be told apart. */
function drawStage(u: uPlot, left: number): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.moveTo(left, bbox.top);
  ctx.lineTo(left, bbox.top + bbox.height);
  ctx.lineWidth = devicePixelRatio;
  ctx.strokeStyle = token("line");
  ctx.stroke();
  ctx.restore();
}

function drawMarker(u: uPlot, { x, bad, stage }: PlacedMarker): void {
  const { ctx, bbox } = u;
  const left = u.valToPos(x, "x", true);
  if (left < bbox.left || left > bbox.left + bbox.width) return;
  if (stage !== null) return drawStage(u, left);
  const size = (bad ? 5 : 4) * devicePixelRatio;
  const bottom = bbox.top + bbox.height - devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.moveTo(left, bottom - size * 1.7);
  ctx.lineTo(left + size, bottom);
  ctx.lineTo(left - size, bottom);
  ctx.closePath();
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.fillStyle = token(bad ? "ground" : "muted");
  ctx.strokeStyle = token("bad");
  ctx.fill();
  if (bad) ctx.stroke();
  ctx.restore();
}

function extent(scene: Scene, log: boolean): { x: Range; y: Range } {
  const x = scene.zoom ?? widened(xExtent(scene.strokes), 0);
  let low = Infinity;
  let high = -Infinity;
  for (const { line } of scene.strokes) {
    const end = Math.min(line.length, line.firstAtOrAfter(x[1]) + 1);
    for (let at = line.firstAtOrAfter(x[0]); at < end; at++) {
      if (line.min[at]! < low && !(log && line.min[at]! <= 0)) low = line.min[at]!;
      if (line.max[at]! > high) high = line.max[at]!;
    }
  }
  return { x, y: log ? logExtent(low, high) : widened([low, high], 0.05) };
}

function xExtent(strokes: Stroke[]): Range {
  let from = Infinity;
  let to = -Infinity;
  for (const { line } of strokes) {
    if (!line.length) continue;
    from = Math.min(from, line.x[0]!);
    to = Math.max(to, line.lastX);
  }
  return [from, to];
}

/** A range that can be drawn: not empty, not infinite, with `margin` of its size on both sides. */
function widened([low, high]: Range, margin: number): Range {
  if (!(low <= high)) return [0, 1];
  if (low === high) return [low - (Math.abs(low) * 0.1 || 0.5), high + (Math.abs(high) * 0.1 || 0.5)];
  const extra = (high - low) * margin;
  return [low - extra, high + extra];
}

function logExtent(low: number, high: number): Range {
  if (!(low <= high)) return [0.1, 10];
  const from = low === high ? low / 2 : low;
  const to = low === high ? high * 2 : high;
  // uPlot counts its splits from the lower end, which therefore has one digit.
  return [oneDigit(from, Math.floor), oneDigit(to, Math.ceil)];
}

function oneDigit(value: number, round: (value: number) => number): number {
  const power = Math.floor(Math.log10(value));
  return Number(`${round(value / 10 ** power)}e${power}`);
}

/** Of the splits of a logarithmic axis those that read well: decades, and 2 and 5 between them while there is room. */
function roundOnly(u: uPlot, splits: number[]): (number | null)[] {
  const decades = Math.log10(u.scales.y!.max! / u.scales.y!.min!);
  const every = Math.max(1, Math.ceil(decades / 4));
  const kept = splits.map((value) => {
    const power = Math.floor(Math.log10(value) + 1e-9);
    const digit = Math.round(value / 10 ** power);
    const round = digit === 1 ? power % every === 0 : decades < 2 && (digit === 2 || digit === 5);
    return round ? value : null;
  });
  return kept.some((value) => value !== null) ? kept : splits;
}

function shortDuration(seconds: number): string {
  return Math.abs(seconds) < 1 && seconds !== 0 ? `${tick(seconds * 1000)}ms` : duration(seconds * 1000);
}
