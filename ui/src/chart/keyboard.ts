// What keys do with the chart under the pointer, or with the one that has the focus.
import { setQuery } from "../router";
import type { XAxis } from "../api";
import { type Range, setZoom } from "./view";

/** A fourth of what is shown. */
const PAN = 0.25;

export function listenOnCharts(): () => void {
  addEventListener("keydown", press);
  return () => removeEventListener("keydown", press);
}

function press(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target as HTMLElement;
  if (target.matches("input, select, textarea")) return;
  const chart = document.querySelector<HTMLElement>("dialog.full .chart, .chart:hover") ?? target.closest<HTMLElement>(".chart");
  const plot = chart?.querySelector<HTMLElement>(".plot");
  if (!chart?.dataset.chart || !plot) return;
  if (event.key === "f" && !chart.closest("dialog")) setQuery({ full: chart.dataset.chart }, true);
  else if (event.key === "0") setZoom(null);
  else {
    const range = moved(event, shownBy(plot));
    if (!range) return;
    setZoom({ range, x: plot.dataset.x as XAxis });
  }
  event.preventDefault();
}

function shownBy(plot: HTMLElement): Range {
  const [from, to] = (plot.dataset.shown ?? "").split("~").map(Number);
  return [from ?? NaN, to ?? NaN];
}

/** What is shown after the key; null for other keys and where nothing is drawn. */
function moved({ key, shiftKey }: KeyboardEvent, [from, to]: Range): Range | null {
  const width = to - from;
  if (!(width > 0)) return null;
  if (key === "+" || key === "=") return [from + width / 4, to - width / 4];
  if (key === "-") return [from - width / 2, to + width / 2];
  const step = width * PAN;
  if (shiftKey && key === "ArrowLeft") return [from - step, to - step];
  if (shiftKey && key === "ArrowRight") return [from + step, to + step];
  return null;
}
