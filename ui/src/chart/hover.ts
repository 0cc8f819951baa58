import { effect, type Signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

/** The run the pointer is on. */
export interface Hover {
  /** At this moment: for the chart and the row under the pointer. */
  now: Signal<string | null>;
  /** Once the pointer rests: for all others, which are too many to repaint on the way. */
  settled: Signal<string | null>;
}

const REST_MS = 120;

export function useHover(): Hover {
  const now = useSignal<string | null>(null);
  const settled = useSignal<string | null>(null);
  useEffect(() => {
    let timer = 0;
    const stop = effect(() => {
      const runId = now.value;
      clearTimeout(timer);
      timer = window.setTimeout(() => {
        settled.value = runId;
      }, REST_MS);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, []);
  return { now, settled };
}
