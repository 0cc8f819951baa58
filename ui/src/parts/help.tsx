import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { chartView, setSmoothing } from "../chart/view";

export const helpOpen = signal(false);

/** Keys of one line are told apart by spaces. */
const KEYS: [section: string, keys: [string, string][]][] = [
  ["Everywhere", [
    ["/", "filter: runs, metrics, lines"],
    ["< >", "previous, next tab"],
    ["g p", "go to the projects"],
    ["g r", "to the runs of the project"],
    ["g m", "to the media of all of them"],
    ["g a", "to its alerts"],
    ["g s", "to its sweeps"],
    ["g e", "to its evals"],
    ["g t", "to the settings"],
    ["Esc", "leave a field, close what is open"],
    ["?", "this list"],
  ]],
  ["Runs", [
    ["j k", "next, previous run"],
    ["Enter", "open it"],
    ["x", "select it"],
    ["h", "hide or show it in the charts"],
    ["e", "hide all but the selected"],
    ["c", "compare the selected"],
    ["Shift ← →", "on a column: narrower, wider"],
  ]],
  ["Charts", [
    ["[ ]", "less, more smoothing"],
    ["f", "full screen"],
    ["+ -", "zoom x in, out"],
    ["Shift ← →", "what is before, behind it"],
    ["0", "show all of x again"],
    ["drag", "zoom x"],
    ["double-click", "show all of x again"],
  ]],
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
    <dialog class="keys" ref={dialog} aria-label="Keys" onClose={() => (helpOpen.value = false)}>
      <h2>Keys</h2>
      <div class="key-lists">
        {KEYS.map(([section, keys]) => (
          <table key={section} aria-label={section}>
            <thead><tr><th colSpan={2}>{section}</th></tr></thead>
            <tbody>
              {keys.map(([key, words]) => (
                <tr key={key}><td>{key.split(" ").map((one) => <kbd key={one}>{one}</kbd>)}</td><td>{words}</td></tr>
              ))}
            </tbody>
          </table>
        ))}
      </div>
      <button class="act" onClick={() => (helpOpen.value = false)}>Close</button>
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
    if (target.closest("dialog[open]") && event.key !== "?") return;
    if (event.key === "Shift") return;
    if (going) {
      going = false;
      event.preventDefault(); // the letter must not mean what else it means in the view
      go(event.key);
      return;
    }
    going = event.key === "g";
    const action = ACTIONS.get(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** The last key was g: the next one says where to. */
let going = false;
const PLACES: Record<string, string> = { r: "", m: "media", a: "alerts", s: "sweeps", e: "evals", t: "settings" };

function go(key: string): void {
  const links = document.querySelectorAll<HTMLAnchorElement>(".places a");
  const view = PLACES[key];
  if (key === "p") location.hash = "#/";
  else if (view === undefined) return;
  else if (links.length) [...links].find((anchor) => anchor.textContent === (view || "runs"))?.click();
  else if (view === "settings") location.hash = "#/settings";
}

function turnTab(by: number): void {
  const tabs = [...document.querySelectorAll<HTMLButtonElement>(".tabs button")];
  const next = tabs[tabs.findIndex((tab) => tab.getAttribute("aria-current")) + by];
  next?.click();
  next?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const ACTIONS = new Map<string, () => void>([
  ["<", () => turnTab(-1)],
  [">", () => turnTab(1)],
  ["/", () => document.querySelector<HTMLInputElement>("[data-filter]")?.focus()],
  ["?", () => (helpOpen.value = !helpOpen.value)],
  ["[", () => setSmoothing(chartView.value.smoothing - SMOOTHING_STEP)],
  ["]", () => setSmoothing(chartView.value.smoothing + SMOOTHING_STEP)],
]);
