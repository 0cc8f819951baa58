import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { chartView, setSmoothing } from "../chart/view";

export const helpOpen = signal(false);

const KEYS: [string, string][] = [
  ["/", "filter the runs, or the metrics of a run"],
  ["j  k", "next, previous run of the table"],
  ["x", "select the run"],
  ["h", "hide or show it in the charts"],
  ["e", "hide all but the selected"],
  ["c", "compare the selected"],
  ["[  ]", "less or more smoothing"],
  ["drag", "zoom x in all charts of the view"],
  ["double click", "show all of x again"],
  ["Esc", "leave a filter, close this"],
  ["?", "this list"],
];

const SMOOTHING_STEP = 0.1;

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = helpOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} aria-label="Keys" onClose={() => (helpOpen.value = false)}>
      <h2>Keys</h2>
      <table>
        <tbody>
          {KEYS.map(([key, words]) => (
            <tr><td><kbd>{key}</kbd></td><td>{words}</td></tr>
          ))}
        </tbody>
      </table>
      <button onClick={() => (helpOpen.value = false)}>Close</button>
    </dialog>
  );
}

/** The keys that mean the same in every view. */
export function listenToKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (target.matches("input:not([type=range], [type=checkbox]), textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const action = ACTIONS.get(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

const ACTIONS = new Map<string, () => void>([
  ["/", () => document.querySelector<HTMLInputElement>("[data-filter]")?.focus()],
  ["?", () => (helpOpen.value = !helpOpen.value)],
  ["[", () => setSmoothing(chartView.value.smoothing - SMOOTHING_STEP)],
  ["]", () => setSmoothing(chartView.value.smoothing + SMOOTHING_STEP)],
]);
