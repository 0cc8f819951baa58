import { useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { runColor } from "../../colors";
import { count, number, plain } from "../../format";
import { Status } from "../../parts/status";
import { link, route, setQuery } from "../../router";
import { type DiffRow, type DiffSection, sectionsOf } from "./diff";

/** Only what differs; what is the same folds. Values that are the first run's stand back. */
export function Differences({ runs }: { runs: readonly RunDetail[] }) {
  const sections = useMemo(() => sectionsOf(runs), [runs]);
  const { query } = route.value;
  const open = new Set((query.get("same") ?? "").split(",").filter(Boolean));
  const text = query.get("d") ?? "";
  const needle = text.toLowerCase();
  const toggle = (title: string) => {
    if (!open.delete(title)) open.add(title);
    setQuery({ same: [...open].join(",") });
  };
  const shown = sections.map((section) => ({ ...section, rows: section.rows.filter((row) => row.name.toLowerCase().includes(needle)) }));
  return (
    <>
      <div class="controls">
        <span class="muted">{count(sections.reduce((sum, { rows }) => sum + rows.filter((row) => row.differs).length, 0), "difference")}</span>
        <input
          type="search" class="filter" placeholder="filter names  /" aria-label="Filter names" data-filter="" value={text}
          onInput={(event) => setQuery({ d: event.currentTarget.value })}
        />
      </div>
      <div class="beside" tabIndex={0} role="region" aria-label="Differences">
        <table class="rows">
          <thead>
            <tr>
              <th class="what"><span class="hidden-text">What</span></th>
              {runs.map((run) => <RunHead key={run.runId} run={run} runs={runs} />)}
            </tr>
          </thead>
          {shown.map((section) => <Section key={section.title} section={section} runs={runs} open={open.has(section.title)} toggle={() => toggle(section.title)} />)}
        </table>
      </div>
    </>
  );
}

export function RunHead({ run, runs }: { run: RunDetail; runs: readonly RunDetail[] }) {
  const others = runs.filter((other) => other.runId !== run.runId);
  return (
    <th scope="col">
      <span class="run-head">
        <i class="swatch" style={{ background: runColor(run.runId) }} />
        <a href={link("runs", run.runId)} title={run.runName}>{run.runName}</a>
        <button
          class="quiet" aria-label={`Leave out ${run.runName}`} title="Leave out" disabled={!others.length}
          onClick={() => setQuery({ runs: others.map((other) => other.runId).join(",") }, true)}
        >
          ×
        </button>
      </span>
    </th>
  );
}

interface SectionProps {
  section: DiffSection;
  runs: readonly RunDetail[];
  open: boolean;
  toggle(): void;
}

function Section({ section: { title, rows }, runs, open, toggle }: SectionProps) {
  const different = rows.filter((row) => row.differs);
  const same = rows.length - different.length;
  if (!rows.length) return null;
  return (
    <tbody data-section={title}>
      <tr class="section">
        <th scope="rowgroup">{title}</th>
        <td colSpan={runs.length}>
          {different.length === 0 && <span class="muted">no difference </span>}
          {same > 0 && runs.length > 1 && <button aria-expanded={open} onClick={toggle}>{open ? "hide" : "show"} {same.toLocaleString("en-US")} the same</button>}
        </td>
      </tr>
      {(open || runs.length === 1 ? rows : different).map((row) => <Values key={row.name} row={row} rounded={title === "Summary"} />)}
    </tbody>
  );
}

function Values({ row, rounded }: { row: DiffRow; rounded: boolean }) {
  const first = text(row.values[0]);
  return (
    <tr>
      <th scope="row" class="code" title={row.name}>{row.name}</th>
      {row.values.map((value, place) => (
        <td key={place} class={place > 0 && text(value) === first ? "same" : ""} title={text(value)}>
          {row.name === "status" ? <Status status={value as RunDetail["status"]} /> : rounded && typeof value === "number" ? number(value) : text(value)}
        </td>
      ))}
    </tr>
  );
}

function text(value: unknown): string {
  return value === undefined ? "–" : plain(value);
}
