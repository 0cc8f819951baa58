import type { Signal } from "@preact/signals";
import type { PrimaryMetric, Run } from "../../api";
import { runColor } from "../../colors";
import { narrow } from "../../format";
import { Status } from "../../parts/status";
import { Lasted } from "../../parts/time";
import { link } from "../../router";
import { own, type Sort } from "./columns";

interface TableProps {
  rows: Run[];
  columns: string[];
  sort: Sort | null;
  visible: ReadonlySet<string>;
  hovered: Signal<string | null>;
  onSort(column: string): void;
  onToggle(runId: string): void;
}

export function RunsTable({ rows, columns, sort, visible, hovered, onSort, onToggle }: TableProps) {
  const head = { sort, onSort };
  const best = rows.some((run) => run.primaryMetric);
  return (
    <table class="rows runs">
      <thead>
        <tr>
          <th class="eye"><span class="hidden-text">Shown</span></th>
          <Head column="name" words="Name" {...head} />
          <Head column="status" words="Status" {...head} />
          <Head column="time" words="Time" figure {...head} />
          {best && <Head column="best" words="Best" figure {...head} />}
          {columns.map((name) => <Head key={name} column={`m:${name}`} words={name} figure {...head} />)}
        </tr>
      </thead>
      <tbody>
        {rows.map((run) => (
          <Row key={run.runId} run={run} best={best} columns={columns} shown={visible.has(run.runId)} hovered={hovered} onToggle={onToggle} />
        ))}
      </tbody>
    </table>
  );
}

interface HeadProps {
  column: string;
  words: string;
  figure?: boolean;
  sort: Sort | null;
  onSort(column: string): void;
}

function Head({ column, words, figure, sort, onSort }: HeadProps) {
  const here = sort?.column === column;
  const order = here ? (sort.descending ? "descending" : "ascending") : undefined;
  return (
    <th class={figure ? `figure ${column}-head` : `${column}-head`} aria-sort={order}>
      <button onClick={() => onSort(column)} title={`Sort by ${words}`}>
        <span class="label"><bdi>{words}</bdi></span>
        {here && <span aria-hidden="true">{sort.descending ? "▾" : "▴"}</span>}
      </button>
    </th>
  );
}

interface RowProps {
  run: Run;
  best: boolean;
  columns: string[];
  shown: boolean;
  hovered: Signal<string | null>;
  onToggle(runId: string): void;
}

function Row({ run, best, columns, shown, hovered, onToggle }: RowProps) {
  return (
    <tr
      class={hovered.value === run.runId ? "hovered" : ""}
      onMouseEnter={() => shown && (hovered.value = run.runId)}
      onMouseLeave={() => (hovered.value = null)}
    >
      <td class="eye">
        <button
          role="switch" aria-checked={shown} aria-label={`Show ${run.runName} in the charts`}
          style={{ color: runColor(run.runId) }} onClick={() => onToggle(run.runId)}
        >
          <i class={shown ? "dot" : "dot off"} />
        </button>
      </td>
      <td class="name">
        <a href={link("runs", run.runId)} title={run.path ? `${run.path}/${run.runName}` : run.runName}>{run.runName}</a>
        {run.alias && <span class="alias" title="Alias">{run.alias}</span>}
      </td>
      <td class="status-cell"><Status status={run.status} /></td>
      <td class="figure muted"><Lasted startMs={run.startedAtMs} endMs={run.finishedAtMs} /></td>
      {best && <Best metric={run.primaryMetric} />}
      {columns.map((name) => <Cell key={name} value={own(run.summary, name)} />)}
    </tr>
  );
}

function Best({ metric }: { metric: PrimaryMetric | null }) {
  if (!metric || metric.value === null) return <td class="figure muted">–</td>;
  const where = metric.step === null ? "" : ` at step ${metric.step.toLocaleString("en-US")}`;
  const words = `${metric.mode === "max" ? "Highest" : "Lowest"} ${metric.name}: ${metric.value}${where}`;
  return <td class="figure" title={words}>{narrow(metric.value)}</td>;
}

function Cell({ value }: { value: unknown }) {
  if (typeof value !== "number") return <td class="figure muted">–</td>;
  return <td class="figure" title={String(value)}>{narrow(value)}</td>;
}
