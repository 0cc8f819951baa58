// A row of the table: made once, then it shows one run, or one group, after another.
import type { Run } from "../../api";
import { runColor } from "../../colors";
import { link } from "../../router";
import { type Cell, runCell } from "./cells";
import { classOf, element, textOf } from "./dom";
import { fieldKind, valueText } from "./fields";
import { type Group, meanOf, type Row } from "./groups";
import type { TableProps } from "./table";

/** What rows are drawn from. */
export interface Scene extends TableProps {
  figures: ReadonlyMap<string, boolean>;
  /** CSS pixels of each column; `template` has them all, with those that every table has. */
  widths: readonly number[];
  template: string;
  rowHeight: number;
}

export interface TableRow {
  readonly element: HTMLTableRowElement;
  readonly kind: "run" | "group";
  show(row: Row, place: number): void;
  /** Another run is under the cursor or the pointer. */
  mark(cursor: string | null, hovered: string | null): void;
  /** A second has passed. */
  tick(): void;
  /** The pointer is over it. */
  point(target: Element): void;
}

export const kindOf = (row: Row): TableRow["kind"] => ("run" in row ? "run" : "group");
export const keyOf = (row: Row): string => ("run" in row ? row.run.runId : row.group.key);

const INDENT = 12;
const NAME_PADDING = 6;

/** What runs and groups have alike: the box, the dot, the name; and the columns between which grid lines stand. */
function frame(scene: () => Scene, kind: TableRow["kind"]) {
  const check = element("input", { type: "checkbox" });
  const dot = element("i");
  const eye = element("button", { role: "switch" }, dot);
  const name = element("td", { role: "cell", class: "name" });
  const row = element(
    "tr", { role: "row", class: kind === "group" ? "group" : "" },
    element("td", { role: "cell", class: "check" }, check), element("td", { role: "cell", class: "eye" }, eye), name,
  );
  const setDot = classOf(dot);
  let lastShown: boolean | null = null;
  let lastPlace = -1;
  let lastTemplate = "";
  const setShown = (shown: boolean) => {
    if (shown === lastShown) return;
    lastShown = shown;
    eye.setAttribute("aria-checked", String(shown));
    setDot(shown ? "dot" : "dot off");
  };
  const place = (at: number) => {
    const { rowHeight, template } = scene();
    if (template !== lastTemplate) row.style.gridTemplateColumns = lastTemplate = template;
    row.style.transform = `translateY(${at * rowHeight}px)`;
    if (at === lastPlace) return;
    lastPlace = at;
    row.setAttribute("aria-rowindex", String(at + 2));
  };
  return { row, check, eye, name, setShown, place };
}

export function runRow(scene: () => Scene): TableRow {
  const { row, check, eye, name, setShown, place: setPlace } = frame(scene, "run");
  const { columns, figures, model } = scene();
  const anchor = element("a");
  const writeName = textOf(anchor);
  name.append(anchor);
  const cells = columns.map((column) => runCell(column, figures.get(column)!, model));
  row.append(...cells.map((cell) => cell.element));
  const setClass = classOf(row);
  let run: Run | null = null;
  let place = -1;
  let widths: readonly number[] | null = null;
  let color = "";
  let indent = 0;
  let alias: HTMLElement | null = null;
  let titled: HTMLElement | null = null;

  const mark = (cursor: string | null, hovered: string | null) => {
    const { runId, archivedAtMs } = run!;
    const state = [hovered === runId && "hovered", cursor === runId && "cursor", scene().selected.has(runId) && "selected", archivedAtMs && "archived"];
    setClass(state.filter(Boolean).join(" "));
  };
  const describe = (next: Run) => {
    titled?.removeAttribute("title");
    titled = null;
    if (next.runId !== run?.runId) {
      row.dataset.run = next.runId;
      anchor.href = link("runs", next.runId);
    }
    if (next.runName !== run?.runName) {
      writeName(next.runName);
      check.setAttribute("aria-label", `Select ${next.runName}`);
      eye.setAttribute("aria-label", `Show ${next.runName} in the charts`);
    }
    if (next.alias !== (run?.alias ?? null)) {
      alias?.remove();
      alias = next.alias ? element("span", { class: "alias", title: "Alias" }, document.createTextNode(next.alias)) : null;
      if (alias) name.append(alias);
    }
  };
  const show = (next: Row, at: number) => {
    if (!("run" in next)) return;
    const { visible, selected, cursor, hovered, widths: wanted } = scene();
    setPlace((place = at));
    if (next.run !== run) describe(next.run);
    if (next.run !== run || wanted !== widths) cells.forEach((cell, column) => cell.show(next.run, wanted[column]!));
    run = next.run;
    widths = wanted;
    setShown(visible.has(run.runId));
    check.checked = selected.has(run.runId);
    const wantedColor = runColor(run.runId);
    if (wantedColor !== color) eye.style.color = color = wantedColor;
    if (next.depth !== indent) {
      indent = next.depth;
      name.style.paddingLeft = indent ? `${NAME_PADDING + indent * INDENT}px` : "";
    }
    mark(cursor.peek(), hovered.peek());
  };

  check.onclick = (event) => {
    const { runId } = run!;
    scene().onSelect(event.shiftKey ? between(scene(), runId, place) : [runId], check.checked);
  };
  eye.onclick = () => scene().onShow([run!.runId], !scene().visible.has(run!.runId));
  row.onpointerdown = () => (scene().cursor.value = run!.runId);

  const point = (target: Element) => {
    const { hovered, visible } = scene();
    hovered.value = visible.has(run!.runId) ? run!.runId : null;
    const cell = target.closest("td");
    const words = cell === name ? (run!.path ? `${run!.path}/${run!.runName}` : run!.runName) : cells.find((one) => one.element === cell)?.title?.(run!);
    if (!cell || !words || titled === cell) return;
    titled?.removeAttribute("title");
    titled = cell;
    cell.title = words;
  };
  const aging = cells.flatMap((cell: Cell, column) => (cell.ages ? [() => cell.show(run!, widths![column]!)] : []));
  return { element: row, kind: "run", show, mark, tick: () => aging.forEach((write) => write()), point };
}

/** From the run that was selected last to this one, as with files. */
function between({ rows, selected }: Scene, here: string, place: number): string[] {
  const runs = rows.map((row) => ("run" in row ? row.run.runId : null));
  const others = runs.flatMap((runId, other) => (runId !== null && runId !== here && selected.has(runId) ? [other] : []));
  const nearest = others.sort((a, b) => Math.abs(a - place) - Math.abs(b - place))[0] ?? place;
  return runs.slice(Math.min(nearest, place), Math.max(nearest, place) + 1).filter((runId) => runId !== null);
}

export function groupRow(scene: () => Scene): TableRow {
  const { row, check, eye, name, setShown, place: setPlace } = frame(scene, "group");
  const { columns, figures } = scene();
  const fold = element("button");
  const arrow = element("span", { "aria-hidden": "true" });
  const writeArrow = textOf(arrow);
  const amount = element("span", { class: "amount" });
  const writeAmount = textOf(amount);
  fold.append(arrow, document.createTextNode(" "));
  const writeName = textOf(fold);
  fold.append(document.createTextNode(" "), amount);
  name.append(fold);
  const means = columns.map((column) => meanCell(column, figures.get(column)! && fieldKind(column) !== "date"));
  row.append(...means.map((mean) => mean.element));
  let group: Group | null = null;
  let visibleThen: ReadonlySet<string> | null = null;
  let selectedThen: ReadonlySet<string> | null = null;
  const ids = () => group!.runs.map((run) => run.runId);

  const show = (next: Row, at: number) => {
    if (!("group" in next)) return;
    const { visible, selected } = scene();
    const other = next.group !== group;
    setPlace(at);
    if (other) {
      group = next.group;
      writeName(group.words);
      writeAmount(group.runs.length.toLocaleString("en-US"));
      fold.title = group.words;
      fold.style.paddingLeft = `${group.depth * INDENT}px`;
      check.setAttribute("aria-label", `Select all of ${group.words}`);
      eye.setAttribute("aria-label", `Show all of ${group.words} in the charts`);
      for (const mean of means) mean.show(group.runs);
    }
    writeArrow(next.open ? "▾" : "▸");
    fold.setAttribute("aria-expanded", String(next.open));
    if (other || visible !== visibleThen) setShown(group!.runs.some((run) => visible.has(run.runId)));
    if (other || selected !== selectedThen) {
      const chosen = selected.size ? group!.runs.filter((run) => selected.has(run.runId)).length : 0;
      check.checked = chosen === group!.runs.length;
      check.indeterminate = chosen > 0 && chosen < group!.runs.length;
    }
    visibleThen = visible;
    selectedThen = selected;
  };
  check.onchange = () => scene().onSelect(ids(), check.checked);
  eye.onclick = () => scene().onShow(ids(), eye.getAttribute("aria-checked") !== "true");
  fold.onclick = () => scene().onFold(group!.key);
  const nothing = () => undefined;
  return { element: row, kind: "group", show, mark: nothing, tick: nothing, point: () => (scene().hovered.value = null) };
}

function meanCell(column: string, figure: boolean) {
  const cell = element("td", { role: "cell", class: "figure muted" });
  const write = textOf(cell);
  const show = (runs: readonly Run[]) => {
    const mean = figure ? meanOf(runs, column) : null;
    write(mean === null ? "" : valueText(column, mean, true));
    if (mean === null) cell.removeAttribute("title");
    else cell.title = `Mean of ${column} over the group: ${mean}`;
  };
  return { element: cell, show };
}
