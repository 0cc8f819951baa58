// One chart: uPlot gives scales, axes, cursor and selection; the lines are drawn here, because every run has x
// values of its own and uPlot wants one shared column.
import uPlot from "uplot";
import type { Marker, XAxis } from "../api";
import { token } from "../colors";
import { duration, tick } from "../format";
import { extent, logSplits, type Ranges } from "./extent";
import type { Line } from "./line";
import { paintLines, paintMarkers } from "./paint";
import type { Range, Smoother } from "./view";

/** A line of the chart: a run's, or the mean of a group. */
export interface Stroke {
  id: string;
  name: string;
  line: Line;
  color: string;
  dash: number[];
}

export interface PlacedMarker {
  x: number;
  marker: Marker;
  /** The name of its run, and that run's colour, where there are several. */
  name: string | null;
  color: string | null;
}

export interface Scene {
  strokes: Stroke[];
  markers: PlacedMarker[];
  smoothing: number;
  smoother: Smoother;
  clip: boolean;
  zoom: Range | null;
  /** The line the pointer is on, anywhere in the view. */
  hovered: string | null;
}

export interface Frame {
  x: XAxis;
  log: boolean;
  logX: boolean;
}

export interface Reading {
  stroke: Stroke;
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
  markers: PlacedMarker[];
  here: boolean;
}

export interface PlotEvents {
  zoom(range: Range): void;
  reset(): void;
  cursor(at: CursorAt | null): void;
}

/** The least; charts whose numbers are longer have a wider one. */
const AXIS_WIDTH = 46;
const DIGIT_PX = 6.5;
const AXIS_HEIGHT = 22;
const NEAR_LINE_PX = 24;
const NEAR_MARKER_PX = 5;
const MIN_DRAG_PX = 4;
const SECONDS = [0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';

export class Plot {
  private readonly u: uPlot;
  private scene: Scene = { strokes: [], markers: [], smoothing: 0, smoother: "ema", clip: false, zoom: null, hovered: null };
  private ranges: Ranges = { x: [1, 2], y: [1, 2], clipped: false };
  private pointerInside = false;
  private asked: string | null = null;

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
    const asked = `${scene.zoom} ${scene.clip}`;
    // Nothing rescales under the pointer: the lines grow, the axes wait until it has left.
    const hold = this.pointerInside && asked === this.asked;
    if (hold) return this.u.redraw(false, false);
    this.asked = scene.strokes.some((stroke) => stroke.line.length) ? asked : null;
    const lines = scene.strokes.map((stroke) => stroke.line);
    this.ranges = extent({ lines, zoom: scene.zoom, clip: scene.clip, log: this.frame.log, logX: this.frame.logX });
    this.u.setData(this.corners(), true);
  }

  resize(width: number, height: number): void {
    if (width !== this.u.width || height !== this.u.height) this.u.setSize({ width, height });
  }

  destroy(): void {
    this.u.destroy();
  }

  /** What the axes show. */
  get shown(): Ranges {
    return this.ranges;
  }

  get canvas(): HTMLCanvasElement {
    return this.u.ctx.canvas;
  }

  /** uPlot's own data: the two corners of what is shown, so that it has something to scale to. */
  private corners(): uPlot.AlignedData {
    return [[...this.ranges.x], [...this.ranges.y]];
  }

  private options(host: HTMLElement): uPlot.Options {
    const { x, log, logX } = this.frame;
    const line = token("line");
    const axis = { stroke: token("muted"), font: FONT, ticks: { show: false }, grid: { stroke: line, width: 1 } };
    const asTheyAre = (_: uPlot, splits: number[]) => splits;
    const logAxis = { filter: asTheyAre, splits: (_: uPlot, __: number, low: number, high: number) => logSplits(low, high) };
    const xValue = x === "relative" ? shortDuration : tick;
    const xValues = (_: uPlot, splits: number[]) => splits.map(xValue);
    return {
      width: host.clientWidth,
      height: host.clientHeight,
      padding: [8, 10, 0, 0],
      legend: { show: false },
      series: [{}, { paths: () => null, points: { show: false } }],
      scales: {
        x: { time: x === "wall", distr: logX ? 3 : 1, range: () => [...this.ranges.x] },
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
          ...(x === "relative" && !logX ? { incrs: SECONDS } : {}),
          ...(logX ? logAxis : {}),
        },
        {
          ...axis,
          size: (_, words) => Math.max(AXIS_WIDTH, Math.ceil(DIGIT_PX * Math.max(0, ...(words ?? []).map((text) => String(text).length))) + 8),
          gap: 4,
          space: 28,
          values: (_, splits) => splits.map(tick),
          ...(log ? { ...logAxis, grid: { ...axis.grid, filter: asTheyAre } } : {}),
        },
      ],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: MIN_DRAG_PX },
        sync: {
          key: x,
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
    for (const stroke of this.scene.strokes) {
      const { line } = stroke;
      const at = line.nearest(x);
      if (at < 0 || Math.abs(u.valToPos(line.x[at]!, "x") - left) > u.over.clientWidth / 8) continue;
      const value = line.mean[at]!;
      if (Number.isNaN(value)) continue;
      readings.push({ stroke, value, min: line.min[at]!, max: line.max[at]! });
      const away = Math.abs(u.valToPos(value, "y") - top);
      if (this.pointerInside && away < distance) [nearest, distance] = [stroke.id, away];
    }
    readings.sort((a, b) => b.value - a.value);
    const markers = this.scene.markers.filter((placed) => Math.abs(u.valToPos(placed.x, "x") - left) <= NEAR_MARKER_PX);
    return { x, left, width: u.over.clientWidth, readings, nearest, markers, here: this.pointerInside };
  }

  private paint(u: uPlot): void {
    paintLines(u, this.scene, this.frame.log, this.frame.logX);
    paintMarkers(u, this.scene.markers);
  }
}

function shortDuration(seconds: number): string {
  return Math.abs(seconds) < 1 && seconds !== 0 ? `${tick(seconds * 1000)}ms` : duration(seconds * 1000);
}
