import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Run } from "../../api";
import { bounded, isFigure, type Layout, NAME_WIDTH, type Sort, widthOf } from "./columns";
import { fieldValue, fieldWords } from "./fields";
import type { Row } from "./groups";
import type { ProjectModel } from "./model";
import { GroupRow, RunRow } from "./row";
import "./runs.css";

export interface TableProps {
  model: ProjectModel;
  rows: readonly Row[];
  /** The runs in the rows, folded groups included. */
  runs: readonly Run[];
  columns: readonly string[];
  layout: Layout;
  sort: Sort | null;
  visible: ReadonlySet<string>;
  selected: ReadonlySet<string>;
  cursor: Signal<string | null>;
  hovered: Signal<string | null>;
  /** When this changes, other rows stand in the table: it begins at the top. */
  listing: string;
  onSort(column: string): void;
  onWidth(column: string, width: number | null): void;
  onShow(runIds: readonly string[], shown: boolean): void;
  onSelect(runIds: readonly string[], selected: boolean): void;
  onFold(key: string): void;
  children?: ComponentChildren;
}

const CONTROLS_WIDTH = 52;
/** Rows drawn beyond the edge of what is seen, and the grain in which the window moves. */
const SPARE = 12;
const GRAIN = 6;
const KEY_STEP = 12;
const SAMPLES = 200;

const coarse = matchMedia("(pointer: coarse)");
const rowHeight = () => (coarse.matches ? 32 : 20);

/** The table in a box that scrolls; only the rows near the window exist. */
export function RunsTable(props: TableProps) {
  const { rows, runs, columns, layout, cursor } = props;
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal({ first: 0, count: 60 });
  const height = rowHeight();
  const measure = () => {
    const { scrollTop, clientHeight } = box.current!;
    const first = Math.max(0, Math.floor((scrollTop / height - SPARE) / GRAIN) * GRAIN);
    const count = Math.ceil(clientHeight / height / GRAIN) * GRAIN + 2 * SPARE + GRAIN;
    if (first !== seen.value.first || count !== seen.value.count) seen.value = { first, count };
  };
  useEffect(() => {
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    box.current!.scrollTop = 0;
  }, [props.listing]);
  useEffect(() => scrollToCursor(box.current!, rows, cursor.value, height), [cursor.value]);

  const figures = useMemo(() => new Map(columns.map((column) => [column, isFigure(column, sample(runs, column))])), [columns, runs]);
  // Scrolling alone leaves `props` as they are: a row that was drawn then need not be drawn again.
  const drawn = useMemo(() => new Map<number, VNode>(), [props]);
  const draw = (row: Row, place: number): VNode => {
    let vnode = drawn.get(place);
    if (!vnode) {
      const more = { ...props, place, figures };
      vnode = "run" in row
        ? <RunRow key={row.run.runId} {...more} run={row.run} depth={row.depth} />
        : <GroupRow key={`group ${row.group.key}`} {...more} group={row.group} open={row.open} />;
      drawn.set(place, vnode);
    }
    return vnode;
  };
  const widths = columns.map((column) => widthOf(column, layout, figures.get(column)!));
  const nameWidth = layout.widths["name"];
  const total = CONTROLS_WIDTH + (nameWidth ?? NAME_WIDTH) + widths.reduce((sum, width) => sum + width, 0);
  const first = Math.min(seen.value.first, Math.max(0, rows.length - seen.value.count));
  const near = rows.slice(first, first + seen.value.count);
  // What is kept of a row holds its elements: without this every row one has passed would stay in memory.
  for (const place of drawn.keys()) if (place < first || place >= first + near.length) drawn.delete(place);
  const after = rows.length - first - near.length;
  return (
    <div class="scroll" ref={box} onScroll={measure} data-rows={rows.length}>
      <table class="rows runs" style={{ minWidth: `${total}px` }} aria-rowcount={rows.length + 1}>
        <colgroup>
          <col style={{ width: "26px" }} />
          <col style={{ width: "26px" }} />
          <col style={nameWidth === undefined ? {} : { width: `${nameWidth}px` }} />
          {widths.map((width, place) => <col key={columns[place]} style={{ width: `${width}px` }} />)}
          {nameWidth !== undefined && <col />}
        </colgroup>
        <thead>
          <tr>
            <th class="check"><CheckAll {...props} /></th>
            <th class="eye"><span class="hidden-text">Shown</span></th>
            <Head {...props} column="name" figure={false} />
            {columns.map((column) => <Head key={column} {...props} column={column} figure={figures.get(column)!} />)}
            {nameWidth !== undefined && <th class="rest" />}
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr class="gap" aria-hidden="true" style={{ height: `${first * height}px` }} />}
          {near.map((row, place) => draw(row, first + place))}
          {after > 0 && <tr class="gap" aria-hidden="true" style={{ height: `${after * height}px` }} />}
        </tbody>
      </table>
      {props.children}
    </div>
  );
}

/** A value of the column, to see what it holds; the first runs speak for all. */
function sample(runs: readonly Run[], column: string): unknown {
  for (const run of runs.slice(0, SAMPLES)) {
    const value = fieldValue(run, column);
    if (value !== null) return value;
  }
  return null;
}

function scrollToCursor(box: HTMLElement, rows: readonly Row[], runId: string | null, height: number): void {
  const place = rows.findIndex((row) => "run" in row && row.run.runId === runId);
  if (place < 0) return;
  const head = box.querySelector("thead")!.offsetHeight;
  const top = place * height;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + height > box.scrollTop + box.clientHeight - head) box.scrollTop = top + height + head - box.clientHeight;
}

function CheckAll({ runs, selected, onSelect }: TableProps) {
  const chosen = runs.filter((run) => selected.has(run.runId)).length;
  const some = chosen > 0 && chosen < runs.length;
  return (
    <input
      type="checkbox" aria-label="Select all runs of the list" checked={chosen > 0 && !some} indeterminate={some}
      onChange={(event) => onSelect(runs.map((run) => run.runId), event.currentTarget.checked)}
    />
  );
}

function Head({ column, figure, sort, layout, onSort, onWidth }: TableProps & { column: string; figure: boolean }) {
  const head = useRef<HTMLTableCellElement>(null);
  const here = sort?.column === column;
  const words = fieldWords(column);
  const width = () => head.current!.getBoundingClientRect().width;
  const drag = (down: PointerEvent) => {
    down.preventDefault();
    const handle = down.currentTarget as HTMLElement;
    const start = width();
    handle.setPointerCapture(down.pointerId);
    handle.onpointermove = (move) => onWidth(column, bounded(start + move.clientX - down.clientX));
    handle.onpointerup = handle.onpointercancel = () => (handle.onpointermove = null);
  };
  const onKey = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? KEY_STEP : event.key === "ArrowLeft" ? -KEY_STEP : 0;
    if (!event.shiftKey || !step) return;
    event.preventDefault();
    onWidth(column, bounded((layout.widths[column] ?? width()) + step));
  };
  return (
    <th ref={head} class={figure ? "figure" : ""} aria-sort={here ? (sort.descending ? "descending" : "ascending") : undefined}>
      <button onClick={() => onSort(column)} onKeyDown={onKey} title={`Sort by ${column}. Shift and an arrow key make the column wider or narrower.`}>
        <span class="label"><bdi>{words}</bdi></span>
        {here && <span aria-hidden="true">{sort.descending ? "▾" : "▴"}</span>}
      </button>
      <span class="grip" onPointerDown={drag} onDblClick={() => onWidth(column, null)} />
    </th>
  );
}
