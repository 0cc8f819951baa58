import { useSignal } from "@preact/signals";
import type { Run } from "../../api";
import { runColor } from "../../colors";
import { dateTime, plain } from "../../format";
import { Status } from "../../parts/status";
import { Lasted } from "../../parts/time";
import { link } from "../../router";
import { fieldKind, fieldValue, valueText } from "./fields";
import { type Group, meanOf } from "./groups";
import type { TableProps } from "./table";

interface RowProps extends TableProps {
  place: number;
  figures: ReadonlyMap<string, boolean>;
}

const INDENT = 12;

export function RunRow(props: RowProps & { run: Run; depth: number }) {
  const { run, depth, place, columns, figures, visible, selected, cursor, hovered, onShow, onSelect } = props;
  const shown = visible.has(run.runId);
  const chosen = selected.has(run.runId);
  const state = [hovered.value === run.runId && "hovered", cursor.value === run.runId && "cursor", chosen && "selected", run.archivedAtMs && "archived"];
  return (
    <tr
      class={state.filter(Boolean).join(" ")} aria-rowindex={place + 2} data-run={run.runId}
      onMouseEnter={() => shown && (hovered.value = run.runId)} onMouseLeave={() => (hovered.value = null)}
      onPointerDown={() => (cursor.value = run.runId)}
    >
      <td class="check">
        <input
          type="checkbox" aria-label={`Select ${run.runName}`} checked={chosen}
          onClick={(event) => onSelect(event.shiftKey ? between(props) : [run.runId], event.currentTarget.checked)}
        />
      </td>
      <td class="eye">
        <button
          role="switch" aria-checked={shown} aria-label={`Show ${run.runName} in the charts`}
          style={{ color: runColor(run.runId) }} onClick={() => onShow([run.runId], !shown)}
        >
          <i class={shown ? "dot" : "dot off"} />
        </button>
      </td>
      <td class="name" style={depth ? { paddingLeft: `${6 + depth * INDENT}px` } : {}}>
        <a href={link("runs", run.runId)} title={run.path ? `${run.path}/${run.runName}` : run.runName}>{run.runName}</a>
        {run.alias && <span class="alias" title="Alias">{run.alias}</span>}
      </td>
      {columns.map((column) => <Cell key={column} {...props} column={column} figure={figures.get(column)!} />)}
    </tr>
  );
}

/** From the run that was selected last to this one, as with files. */
function between({ rows, run, selected, place }: RowProps & { run: Run }): string[] {
  const runs = rows.map((row) => ("run" in row ? row.run.runId : null));
  const others = runs.flatMap((runId, other) => (runId !== null && runId !== run.runId && selected.has(runId) ? [other] : []));
  const nearest = others.sort((a, b) => Math.abs(a - place) - Math.abs(b - place))[0] ?? place;
  return runs.slice(Math.min(nearest, place), Math.max(nearest, place) + 1).filter((runId) => runId !== null);
}

function Cell({ model, run, column, figure }: RowProps & { run: Run; column: string; figure: boolean }) {
  if (column === "status") return <td><Status status={run.status} /></td>;
  if (column === "time") return <td class="figure muted"><Lasted startMs={run.startedAtMs} endMs={run.finishedAtMs} /></td>;
  if (column === "tags") return <Editable words={run.tags.join(", ")} name={run.runName} what="tags" save={(text) => model.edit(run.runId, { tags: tagsOf(text) })} />;
  if (column === "notes") return <Editable words={run.notes ?? ""} name={run.runName} what="notes" save={(text) => model.edit(run.runId, { notes: text })} />;
  const value = fieldValue(run, column);
  if (value === null) return <td class={figure ? "figure muted" : "muted"}>–</td>;
  return <td class={figure ? "figure" : "value"} title={exactly(run, column, value)}>{valueText(column, value, true)}</td>;
}

function exactly(run: Run, column: string, value: unknown): string {
  if (column === "best" && run.primaryMetric) {
    const { name, mode, step } = run.primaryMetric;
    const where = step === null ? "" : ` at step ${step.toLocaleString("en-US")}`;
    return `${mode === "max" ? "Highest" : "Lowest"} ${name}: ${value}${where}`;
  }
  return fieldKind(column) === "date" ? dateTime(value as number) : plain(value);
}

export function tagsOf(text: string): string[] {
  return [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
}

interface EditableProps {
  words: string;
  name: string;
  what: "tags" | "notes";
  save(text: string): Promise<boolean>;
}

/** A cell one writes into: Enter keeps, Escape leaves it as it was. */
function Editable({ words, name, what, save }: EditableProps) {
  const editing = useSignal(false);
  const finish = async (input: HTMLInputElement, keep: boolean) => {
    if (!editing.value) return;
    const text = input.value.trim();
    editing.value = false;
    if (keep && text !== words) await save(text);
  };
  if (!editing.value) {
    return (
      <td class="value edit">
        <button title={words || `Add ${what}`} aria-label={`Edit ${what} of ${name}: ${words || "none"}`} onClick={() => (editing.value = true)}>
          {words || <span class="muted">+</span>}
        </button>
      </td>
    );
  }
  return (
    <td class="edit">
      <input
        ref={(input) => {
          if (input !== document.activeElement) input?.focus();
        }}
        aria-label={`${what} of ${name}`}
        defaultValue={words} placeholder={what === "tags" ? "one, two" : what}
        onKeyDown={(event) => {
          if (event.key === "Enter" || event.key === "Escape") void finish(event.currentTarget, event.key === "Enter");
          event.stopPropagation();
        }}
        onBlur={(event) => void finish(event.currentTarget, true)}
      />
    </td>
  );
}

export function GroupRow(props: RowProps & { group: Group; open: boolean }) {
  const { group, open, place, columns, figures, visible, selected, onShow, onSelect, onFold } = props;
  const ids = group.runs.map((run) => run.runId);
  const shown = ids.some((runId) => visible.has(runId));
  const chosen = ids.filter((runId) => selected.has(runId)).length;
  return (
    <tr class="group" aria-rowindex={place + 2}>
      <td class="check">
        <input
          type="checkbox" aria-label={`Select all of ${group.words}`} checked={chosen === ids.length} indeterminate={chosen > 0 && chosen < ids.length}
          onChange={(event) => onSelect(ids, event.currentTarget.checked)}
        />
      </td>
      <td class="eye">
        <button role="switch" aria-checked={shown} aria-label={`Show all of ${group.words} in the charts`} onClick={() => onShow(ids, !shown)}>
          <i class={shown ? "dot" : "dot off"} />
        </button>
      </td>
      <td class="name">
        <button aria-expanded={open} style={{ paddingLeft: `${group.depth * INDENT}px` }} title={group.words} onClick={() => onFold(group.key)}>
          <span aria-hidden="true">{open ? "▾" : "▸"}</span> {group.words} <span class="amount">{ids.length.toLocaleString("en-US")}</span>
        </button>
      </td>
      {columns.map((column) => <Mean key={column} runs={group.runs} column={column} figure={figures.get(column)!} />)}
    </tr>
  );
}

function Mean({ runs, column, figure }: { runs: readonly Run[]; column: string; figure: boolean }) {
  const mean = figure && fieldKind(column) !== "date" ? meanOf(runs, column) : null;
  if (mean === null) return <td />;
  return <td class="figure muted" title={`Mean of ${column} over the group: ${mean}`}>{valueText(column, mean, true)}</td>;
}
