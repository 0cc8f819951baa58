// Lines, bands and markers on a canvas. uPlot gives the scales; a run has x values of its own, so the drawing is here.
import uPlot from "uplot";
import { token } from "../colors";
import type { Line } from "./line";
import type { PlacedMarker, Scene } from "./plot";
import { smoothed } from "./smoothing";

/** More bands than this over each other are mud. */
const MOST_BANDS = 12;

export function paintLines(u: uPlot, scene: Scene, log: boolean, logX: boolean): void {
  const { ctx, bbox } = u;
  const pixel = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.lineJoin = "bevel";
  const project = projection(u, log, logX);
  const { hovered, smoothing, smoother } = scene;
  const known = scene.strokes.some((stroke) => stroke.id === hovered);
  const ordered = [...scene.strokes].sort((a, b) => Number(a.id === hovered) - Number(b.id === hovered));
  const alone = ordered.length === 1;
  for (const stroke of ordered) {
    const strength = !known || stroke.id === hovered ? 1 : 0.25;
    const { line } = stroke;
    ctx.strokeStyle = ctx.fillStyle = stroke.color;
    ctx.setLineDash(stroke.dash.map((length) => length * pixel));
    ctx.globalAlpha = strength * (alone ? 0.18 : 0.1);
    if (ordered.length <= MOST_BANDS || stroke.id === hovered) fillBand(ctx, project, line);
    ctx.lineWidth = (known && stroke.id === hovered && !alone ? 2.5 : 1.5) * pixel;
    if (smoothing > 0) {
      ctx.globalAlpha = strength * 0.25;
      strokeLine(ctx, project, line, line.mean);
    }
    ctx.globalAlpha = strength;
    strokeLine(ctx, project, line, smoothing > 0 ? smoothed(line, smoothing, smoother) : line.mean);
  }
  ctx.restore();
}

interface Projection {
  x(value: number): number;
  y(value: number): number;
  /** What is shown, in units of the axis. */
  from: number;
  to: number;
}

/** uPlot's valToPos as plain arithmetic, because it is called for every point. */
function projection(u: uPlot, log: boolean, logX: boolean): Projection {
  const from = u.scales.x!.min!;
  const to = u.scales.x!.max!;
  const { min: low, max: high } = u.scales.y!;
  const [x0, x1] = [u.valToPos(from, "x", true), u.valToPos(to, "x", true)];
  const [y0, y1] = [u.valToPos(low!, "y", true), u.valToPos(high!, "y", true)];
  const along = (value: number) => (logX ? Math.log10(value) : value);
  const up = (value: number) => (log ? Math.log10(value) : value);
  const perX = (x1 - x0) / (along(to) - along(from));
  const perY = (y1 - y0) / (up(high!) - up(low!));
  return {
    from,
    to,
    x: (value) => x0 + (along(value) - along(from)) * perX,
    y: (value) => y0 + (up(value) - up(low!)) * perY,
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
    const x = project.x(line.x[at]!);
    const y = project.y(values[at]!);
    if (!Number.isFinite(y) || !Number.isFinite(x)) {
      drawn = 0;
      continue;
    }
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
    while (start < end && !(line.min[start]! < line.max[start]! && Number.isFinite(project.x(line.x[start]!)))) start++;
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

interface Colors {
  line: string;
  ground: string;
  bad: string;
  accent: string;
  warning: string;
  good: string;
  muted: string;
}

/** Markers over the x axis; of those of one kind at the same pixel only one is drawn. */
export function paintMarkers(u: uPlot, markers: readonly PlacedMarker[]): void {
  if (!markers.length) return;
  const names = ["line", "ground", "bad", "accent", "warning", "good", "muted"] as const;
  const colors = Object.fromEntries(names.map((name) => [name, token(name)])) as unknown as Colors;
  const { ctx, bbox } = u;
  const drawn = new Set<string>();
  ctx.save();
  for (const placed of markers) {
    const left = Math.round(u.valToPos(placed.x, "x", true));
    if (!(left >= bbox.left && left <= bbox.left + bbox.width)) continue;
    const place = `${placed.marker.kind} ${left}`;
    if (drawn.has(place)) continue;
    drawn.add(place);
    paintMarker(ctx, bbox, left, placed, colors);
  }
  ctx.restore();
}

function paintMarker(ctx: CanvasRenderingContext2D, bbox: uPlot.BBox, left: number, { marker, color }: PlacedMarker, colors: Colors): void {
  const pixel = devicePixelRatio;
  const bottom = bbox.top + bbox.height - pixel;
  ctx.lineWidth = 1.5 * pixel;
  switch (marker.kind) {
    // Where something begins: a line over the whole height, so that what follows can be told from what was before.
    case "stage":
    case "resume":
      ctx.setLineDash(marker.kind === "stage" ? [3 * pixel, 3 * pixel] : [pixel, 3 * pixel]);
      ctx.lineWidth = pixel;
      ctx.strokeStyle = color ?? colors.muted;
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bottom);
      ctx.stroke();
      return ctx.setLineDash([]);
    case "non_finite":
      polygon(ctx, left, bottom, [[0, -8.5], [5, 0], [-5, 0]]);
      ctx.fillStyle = colors.ground;
      ctx.strokeStyle = colors.bad;
      ctx.fill();
      return ctx.stroke();
    case "checkpoint":
      polygon(ctx, left, bottom, [[0, -8], [4, -4], [0, 0], [-4, -4]]);
      ctx.fillStyle = color ?? colors.good;
      return ctx.fill();
    case "alert":
      polygon(ctx, left, bottom, [[-4, -9], [4, -9], [0, 0]]);
      ctx.fillStyle = marker.attrs.level === "error" ? colors.bad : colors.warning;
      return ctx.fill();
    default:
      polygon(ctx, left, bottom, [[0, -7], [4, 0], [-4, 0]]);
      ctx.fillStyle = color ?? (marker.kind === "control" ? colors.accent : colors.muted);
      return ctx.fill();
  }
}

/** Corners in CSS pixels from the place. */
function polygon(ctx: CanvasRenderingContext2D, left: number, bottom: number, corners: [number, number][]): void {
  ctx.beginPath();
  for (const [x, y] of corners) ctx.lineTo(left + x * devicePixelRatio, bottom + y * devicePixelRatio);
  ctx.closePath();
}
