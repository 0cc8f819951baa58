// A run has one colour everywhere, the same after a reload.
import { signal } from "@preact/signals";

/** Okabe and Ito's colours, extended to twelve; darker on a light ground so that each keeps 3 : 1 against it. */
const LIGHT = [
  "#0072b2", "#d55e00", "#00855f", "#b8569a", "#a87400", "#5b50c9",
  "#2a8fc4", "#8c5a2b", "#007f86", "#b3264e", "#7a7300", "#667080",
];
const DARK = [
  "#4ba3e3", "#ff8a4c", "#2fc79a", "#e39ac4", "#f2b33d", "#9c93ff",
  "#86d0f8", "#c99265", "#3cc4c9", "#f4708f", "#d6cc4a", "#a9b1bc",
];
/** After twelve runs the hues come again with another dash, in CSS pixels. */
const DASHES: number[][] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

const media = matchMedia("(prefers-color-scheme: dark)");
export const dark = signal(media.matches);
media.addEventListener("change", () => {
  dark.value = media.matches;
});

const REMEMBERED = "rundial.colors";
const slots = new Map<string, number>(remembered());

function remembered(): [string, number][] {
  try {
    return JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "[]");
  } catch {
    // Storage is blocked or was meddled with; colours then come from the ids.
    return [];
  }
}

/** Gives the runs of a project their colours: the oldest the first, so that a new run changes nobody else's. */
export function assignColors(oldestFirst: string[]): void {
  slots.clear();
  oldestFirst.forEach((runId, index) => slots.set(runId, index));
  try {
    sessionStorage.setItem(REMEMBERED, JSON.stringify([...slots]));
  } catch {
    // Without storage the run page chooses by id.
  }
}

function slot(runId: string): number {
  const known = slots.get(runId);
  if (known !== undefined) return known;
  let hash = 0;
  for (const character of runId) hash = (hash * 31 + character.charCodeAt(0)) >>> 0;
  return hash % LIGHT.length;
}

export function runColor(runId: string): string {
  return placeColor(slot(runId));
}

export function runDash(runId: string): number[] {
  return placeDash(slot(runId));
}

/** Colours and dashes that are told apart, for what has no run: groups, by their place. */
export function placeColor(place: number): string {
  const colors = dark.value ? DARK : LIGHT;
  return colors[place % colors.length]!;
}

export function placeDash(place: number): number[] {
  return DASHES[Math.floor(place / LIGHT.length) % DASHES.length]!;
}

/** A token of styles.css as it is in the present theme. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
