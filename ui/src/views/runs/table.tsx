import { effect, type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { Run } from "../../api";
import { dark } from "../../colors";
import { now } from "../../parts/time";
import { bounded, isFigure, type Layout, NAME_WIDTH, type Sort, widthOf } from "./columns";
import { fieldValue, fieldWords } from "./fields";
import type { Row } from "./groups";
import type { ProjectModel } from "./model";
import { type Pool, rowPool } from "./pool";
import type { Scene } from "./row";
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

const CONTROL_WIDTH = 26;
const KEY_STEP = 12;
const SAMPLES = 200;

const coarse = matchMedia("(pointer: coarse)");

/** The table in a box that scrolls. Its head is the page's; its rows are a pool's, which shows those near the window. */
export function RunsTable(props: TableProps) {
  const { rows, runs, columns, layout, cursor, hovered } = props;
  const box = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLTableSectionElement>(null);
  const pool = useRef<Pool | null>(null);
  const isCoarse = useSignal(coarse.matches);
  const rowHeight = isCoarse.value ? 32 : 20;
  const found = useMemo(() => columns.map((column) => isFigure(column, sample(runs, column))), [columns, runs]);
  const figures = useMemo(() => new Map(columns.map((column, place) => [column, found[place]!])), [columns, found.join()]);
  const nameWidth = layout.widths["name"];
  const widths = useMemo(() => columns.map((column) => widthOf(column, layout, figures.get(column)!)), [columns, layout, figures]);
  const total = 2 * CONTROL_WIDTH + (nameWidth ?? NAME_WIDTH) + widths.reduce((sum, width) => sum + width, 0);
  const others = widths.map((width) => `${width}px`).join(" ");
  const name = nameWidth === undefined ? `minmax(${NAME_WIDTH}px, 1fr)` : `${nameWidth}px`;
  const template = `${CONTROL_WIDTH}px ${CONTROL_WIDTH}px ${name} ${others}${nameWidth === undefined ? "" : " minmax(0, 1fr)"}`;
  const isDark = dark.value;

  useLayoutEffect(() => {
    const { current } = box;
    const made = (pool.current = rowPool(body.current!));
    let height = current!.clientHeight;
    const observer = new ResizeObserver(() => {
      height = current!.clientHeight;
      made.look(current!.scrollTop, height);
    });
    observer.observe(current!);
    const scrolled = () => made.look(current!.scrollTop, height);
    current!.addEventListener("scroll", scrolled, { passive: true });
    made.look(0, height);
    const setCoarse = () => (isCoarse.value = coarse.matches);
    coarse.addEventListener("change", setCoarse);
    const stop = effect(() => {
      if (now.value) made.tick();
    });
    return () => {
      stop();
      observer.disconnect();
      current!.removeEventListener("scroll", scrolled);
      coarse.removeEventListener("change", setCoarse);
      made.close();
    };
  }, []);
  useLayoutEffect(() => {
    box.current!.scrollTop = 0;
    pool.current!.look(0, box.current!.clientHeight);
  }, [props.listing]);
  useLayoutEffect(() => {
    const scene: Scene = { ...props, figures, widths, template, rowHeight };
    pool.current!.draw(scene);
  }, [props, figures, widths, template, rowHeight, isDark]);
  useEffect(() => effect(() => pool.current!.mark(cursor.value, hovered.value)), []);
  useEffect(() => scrollToCursor(box.current!, rows, cursor.value, rowHeight), [cursor.value]);

  return (
    <div class="scroll" ref={box} data-rows={rows.length}>
      <table class="rows runs" role="table" style={{ minWidth: `${total}px` }} aria-rowcount={rows.length + 1}>
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
            <th role="columnheader" class="check"><CheckAll {...props} /></th>
            <th role="columnheader" class="eye"><span class="hidden-text">Shown</span></th>
            <Head {...props} column="name" figure={false} />
            {columns.map((column) => <Head key={column} {...props} column={column} figure={figures.get(column)!} />)}
            {nameWidth !== undefined && <th role="columnheader" class="rest" />}
          </tr>
        </thead>
        <tbody role="rowgroup" ref={body} />
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
  const chosen = selected.size ? runs.filter((run) => selected.has(run.runId)).length : 0;
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
    <th ref={head} role="columnheader" class={figure ? "figure" : ""} aria-sort={here ? (sort.descending ? "descending" : "ascending") : undefined}>
      <button onClick={() => onSort(column)} onKeyDown={onKey} title={`Sort by ${column}. Shift and an arrow key make the column wider or narrower.`}>
        <span class="label"><bdi>{words}</bdi></span>
        {here && <span aria-hidden="true">{sort.descending ? "▾" : "▴"}</span>}
      </button>
      <span class="grip" onPointerDown={drag} onDblClick={() => onWidth(column, null)} />
    </th>
  );
}
