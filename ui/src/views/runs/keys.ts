// The keys of the runs table.
import type { Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { link } from "../../router";
import type { Row } from "./groups";

interface KeyTargets {
  rows: readonly Row[];
  cursor: Signal<string | null>;
  selected: ReadonlySet<string>;
  visible: ReadonlySet<string>;
  onSelect(runIds: readonly string[], selected: boolean): void;
  onShow(runIds: readonly string[], shown: boolean): void;
  onOnly(): void;
  onCompare(): void;
}

/** `j k` move, `x` selects, `h` shows or hides, Enter opens, `c` compares the selected, `e` hides all others. */
export function useTableKeys(targets: KeyTargets): void {
  const now = useRef(targets);
  now.current = targets;
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const target = event.target as HTMLElement;
      if (target.matches("input:not([type=checkbox]), textarea, select") || target.closest("[role=dialog], dialog")) return;
      if (event.key === "Enter" && target.matches("a, button, input")) return;
      if (press(event.key, now.current)) event.preventDefault();
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
}

function press(key: string, targets: KeyTargets): boolean {
  const { rows, cursor, selected, visible, onSelect, onShow, onOnly, onCompare } = targets;
  const runs = rows.flatMap((row) => ("run" in row ? [row.run.runId] : []));
  const place = cursor.value === null ? -1 : runs.indexOf(cursor.value);
  const here = runs[place];
  if (key === "j" || key === "k") {
    cursor.value = runs[Math.min(runs.length - 1, Math.max(0, place + (key === "j" ? 1 : -1)))] ?? null;
    return true;
  }
  if (key === "e" && selected.size) onOnly();
  else if (key === "c" && selected.size) onCompare();
  else if (here === undefined) return false;
  else if (key === "x") onSelect([here], !selected.has(here));
  else if (key === "h") onShow([here], !visible.has(here));
  else if (key === "Enter") location.hash = link("runs", here);
  else return false;
  return true;
}
