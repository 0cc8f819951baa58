// Runs as files: what the browser has, with config and summary in columns of their own.
import type { Run } from "../../api";
import { plain } from "../../format";
import { dotted, fieldValue, knownFields } from "./fields";

const FACTS = ["id", "name", "status", "started", "finished", "time", "step", "points", "group", "job", "path", "alias", "tags", "notes"];

export function csv(runs: readonly Run[]): string {
  const known = knownFields(runs);
  const columns = [...FACTS, ...known.config, ...known.summary];
  const lines = runs.map((run) => columns.map((column) => cell(fieldValue(run, column))).join(","));
  return [columns.map(cell).join(","), ...lines].join("\r\n") + "\r\n";
}

export function cell(value: unknown): string {
  if (value === null) return "";
  let text = Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join(", ") : plain(value);
  // A spreadsheet would run a text that begins like a formula.
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function json(runs: readonly Run[]): string {
  const rows = runs.map((run) => ({
    ...run,
    config: Object.fromEntries(dotted(run.config)),
    summary: Object.fromEntries(dotted(run.summary)),
  }));
  return JSON.stringify(rows, null, 2);
}

export function download(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  // The browser has taken the file over by the next turn.
  setTimeout(() => URL.revokeObjectURL(url));
}
