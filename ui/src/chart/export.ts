// One chart as a file: what is drawn, as a picture or as numbers.
import { series, type XAxis } from "../api";
import { token } from "../colors";
import { cell, download } from "../views/runs/export";
import type { Stroke } from "./plot";
import { axisMetric, type Range } from "./view";

const ROW = 18;
const MARGIN = 12;
const FONT = 'system-ui, -apple-system, "Segoe UI", sans-serif';
/** More names than this would be a page of them. */
const MOST_NAMES = 40;

/** A row for each line and place: the run or group, x, the mean, the smallest and the largest value there. */
export function saveCsv(metric: string, strokes: readonly Stroke[], x: XAxis, zoom: Range | null): void {
  const rows = [["run", axisMetric(x) ?? x, metric, "min", "max"]];
  for (const { name, line } of strokes) {
    const first = zoom ? line.firstAtOrAfter(zoom[0]) : 0;
    for (let at = first; at < line.length && !(zoom && line.x[at]! > zoom[1]); at++) {
      rows.push([name, ...[line.x, line.mean, line.min, line.max].map((column) => String(column[at]!))]);
    }
  }
  download(`${fileName(metric)}.csv`, "text/csv", rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n");
}

/** A row for each value that was logged, whatever is drawn: the run, its id, step, time and value. Raises ApiError. */
export async function saveValues(metric: string, runs: ReadonlyMap<string, { name: string }>): Promise<void> {
  const lines = [["run", "id", "step", "time", metric].map(cell).join(",")];
  for (const [runId, { name }] of runs) {
    const start = `${cell(name)},${cell(runId)},`;
    for (const { step, timestampMs, value } of await series(runId, metric)) lines.push(`${start}${step},${new Date(timestampMs).toISOString()},${cell(value)}`);
  }
  download(`${fileName(metric)}-all.csv`, "text/csv", lines.join("\r\n") + "\r\n");
}

/** The chart as it stands on the screen, with its title and the names of its lines. */
export function saveImage(metric: string, plot: HTMLCanvasElement, strokes: readonly Stroke[]): void {
  const scale = devicePixelRatio;
  const width = plot.width / scale;
  const named = strokes.length > 1 ? strokes.slice(0, MOST_NAMES) : [];
  const canvas = document.createElement("canvas");
  const ctx = canvas.getContext("2d")!;
  ctx.font = `11px ${FONT}`;
  const places = flow(named.map((stroke) => 26 + ctx.measureText(stroke.name).width + 14), width);
  const below = named.length ? (places.at(-1)!.row + 1) * ROW : 0;
  canvas.width = plot.width + 2 * MARGIN * scale;
  canvas.height = plot.height + (ROW + below + 2 * MARGIN) * scale;
  ctx.fillStyle = token("ground");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(plot, MARGIN * scale, (MARGIN + ROW) * scale);
  ctx.scale(scale, scale);
  ctx.translate(MARGIN, MARGIN);
  ctx.textBaseline = "middle";
  ctx.fillStyle = token("text");
  ctx.font = `600 13px ${FONT}`;
  ctx.fillText(metric, 0, ROW / 2);
  ctx.font = `11px ${FONT}`;
  named.forEach(({ name, color, dash }, index) => {
    const { left, row } = places[index]!;
    const middle = ROW + plot.height / scale + row * ROW + ROW / 2;
    ctx.strokeStyle = color;
    ctx.lineWidth = 2;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(left, middle);
    ctx.lineTo(left + 20, middle);
    ctx.stroke();
    ctx.fillText(name, left + 26, middle);
  });
  canvas.toBlob((blob) => blob && download(`${fileName(metric)}.png`, "image/png", blob), "image/png");
}

/** Where each of the widths stands when they follow one another in rows. */
function flow(widths: readonly number[], most: number): { left: number; row: number }[] {
  let left = 0;
  let row = 0;
  return widths.map((width) => {
    if (left > 0 && left + width > most) [left, row] = [0, row + 1];
    const place = { left, row };
    left += width;
    return place;
  });
}

function fileName(metric: string): string {
  return metric.replace(/[^\w.-]+/g, "_").slice(0, 100);
}
