import { signal } from "@preact/signals";
import { ago, dateTime, duration } from "../format";

/** The present, to the second, for whoever shows how long something takes. */
export const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now();
}, 1000);

export function Ago({ timeMs }: { timeMs: number }) {
  return <time title={dateTime(timeMs)}>{ago(timeMs, now.value)}</time>;
}

/** From the start to the end, or until now. */
export function Lasted({ startMs, endMs }: { startMs: number; endMs: number | null }) {
  const text = duration((endMs ?? now.value) - startMs);
  return <time title={`since ${dateTime(startMs)}`}>{text}</time>;
}
