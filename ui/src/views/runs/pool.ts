// The rows that exist: those near what is seen. While one scrolls they are neither made nor moved in the document, but
// shown elsewhere, with another run in them; when it is quiet they are put into the order one reads them in.
import type { Row } from "./groups";
import { groupRow, keyOf, kindOf, runRow, type Scene, type TableRow } from "./row";

export interface Pool {
  /** Other rows, or the same ones drawn in another way. */
  draw(scene: Scene): void;
  /** The window into the rows has moved, or has another size: CSS pixels. */
  look(top: number, height: number): void;
  /** Another run is under the cursor or the pointer. */
  mark(cursor: string | null, hovered: string | null): void;
  /** A second has passed. */
  tick(): void;
  close(): void;
}

/** Rows that stand ready beyond each edge of what is seen. */
const SPARE = 12;
/** How much is written in one frame: more waits for the next. */
const MOST_CELLS = 540;
const MOST_SPARE_CELLS = 160;
const FEWEST = 8;
/** The scrolling has ended when it has rested for so long. */
const REST_MS = 300;

export function rowPool(body: HTMLElement): Pool {
  let scene: Scene | null = null;
  let columns = "";
  let top = 0;
  let height = 0;
  let down = true;
  const placed = new Map<number, TableRow>();
  const free: Record<TableRow["kind"], TableRow[]> = { run: [], group: [] };
  const rowOf = new WeakMap<Element, TableRow>();
  const present = () => scene!;
  let timer = 0;
  let frame = 0;
  let restFrame = 0;
  let resting = true;
  let pointed: Element | null = null;
  /** The frame whose cells were counted last, and how many more may be written in it. */
  let counted: unknown = null;
  let left = 0;

  /** The row that has the focus stays, wherever one scrolls. */
  const held = (): TableRow | null => {
    const row = document.activeElement?.closest("tr");
    return (row && rowOf.get(row)) ?? null;
  };

  const put = (place: number) => {
    const row = present().rows[place]!;
    const kind = kindOf(row);
    let drawn = free[kind].pop();
    if (!drawn) {
      drawn = kind === "run" ? runRow(present) : groupRow(present);
      rowOf.set(drawn.element, drawn);
    }
    drawn.show(row, place);
    if (!drawn.element.parentNode) body.append(drawn.element);
    placed.set(place, drawn);
  };

  const release = (place: number, row: TableRow) => {
    placed.delete(place);
    free[row.kind].push(row);
  };

  const drop = () => {
    for (const row of [...free.run, ...free.group]) row.element.remove();
  };

  const seen = () => {
    const { rows, rowHeight } = present();
    // There may be fewer rows than a moment ago: the box then scrolls back, and says so later.
    const begin = Math.max(0, Math.min(top, rows.length * rowHeight - height));
    return { from: Math.floor(begin / rowHeight), to: Math.min(rows.length, Math.ceil((begin + height) / rowHeight)), all: rows.length };
  };

  /** Fills those of the places that are empty, up to so many; returns how many it filled. */
  const fill = (places: Iterable<number>, most: number): number => {
    let filled = 0;
    for (const place of places) {
      if (filled >= most) break;
      if (placed.has(place)) continue;
      put(place);
      filled++;
    }
    return filled;
  };

  const update = () => {
    const { from, to, all } = seen();
    const kept = held();
    let changed = false;
    for (const [place, row] of placed) {
      if ((place >= from - SPARE && place < to + SPARE) || row === kept) continue;
      release(place, row);
      changed = true;
    }
    const cells = present().columns.length + 3;
    const most = budget(cells);
    const filled = fill(range(from, to), most);
    left -= filled * cells;
    if (filled === most) {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        update();
      });
    }
    const spare = Math.floor(MOST_SPARE_CELLS / cells) - filled;
    const ahead = down ? range(to, Math.min(all, to + SPARE)) : backwards(from - 1, Math.max(0, from - SPARE));
    const readied = spare > 0 ? fill(ahead, spare) : 0;
    if (changed || filled || readied) rest();
  };

  /** How many rows may still be written in this frame, each of so many cells. A frame scrolls first, then it animates. */
  const budget = (cells: number): number => {
    const now = document.timeline.currentTime;
    if (now !== counted) left = Math.max(MOST_CELLS, FEWEST * cells);
    counted = now;
    return Math.max(0, Math.floor(left / cells));
  };

  const rest = () => {
    resting = false;
    clearTimeout(timer);
    cancelAnimationFrame(restFrame);
    timer = window.setTimeout(ready, REST_MS);
  };

  /** Nobody scrolls: what may be seen next is made ready, a few rows at a time, and then the order is made. */
  const ready = () => {
    const { from, to, all } = seen();
    const few = Math.ceil(MOST_SPARE_CELLS / (present().columns.length + 3));
    if (fill(range(Math.max(0, from - SPARE), Math.min(all, to + SPARE)), few) === few) {
      restFrame = requestAnimationFrame(ready);
      return;
    }
    if (order(few)) {
      restFrame = requestAnimationFrame(ready);
      return;
    }
    resting = true;
  };

  /**
   * The document's order becomes that of the places, by so many moves at most: a row that is moved is styled and laid out
   * anew. The one with the focus is not moved, it would lose it. True when more is to be done.
   */
  const order = (most: number): boolean => {
    drop();
    const rows = [...placed].sort(([a], [b]) => a - b).map(([, row]) => row.element);
    const kept = held();
    const anchor = kept ? rows.indexOf(kept.element) : longest(rows);
    let moves = 0;
    for (let at = anchor + 1; at < rows.length && moves < most; at++) {
      if (rows[at - 1]!.nextSibling === rows[at]) continue;
      rows[at - 1]!.after(rows[at]!);
      moves++;
    }
    for (let at = anchor - 1; at >= 0 && moves < most; at--) {
      if (rows[at + 1]!.previousSibling === rows[at]) continue;
      rows[at + 1]!.before(rows[at]!);
      moves++;
    }
    return moves === most;
  };

  const clear = () => {
    for (const row of placed.values()) row.element.remove();
    drop();
    placed.clear();
    free.run = [];
    free.group = [];
  };

  const draw = (next: Scene) => {
    const wanted = JSON.stringify([next.columns, next.columns.map((column) => next.figures.get(column))]);
    if (wanted !== columns) clear();
    columns = wanted;
    const before = scene;
    const kept = held();
    const keptKey = kept && before ? keyAt(before, kept) : null;
    scene = next;
    body.style.height = `${next.rows.length * next.rowHeight}px`;
    if (kept && keptKey !== null && before!.rows !== next.rows) settle(kept, keptKey);
    const { from, to } = seen();
    for (const [place, row] of [...placed]) {
      const shown = next.rows[place];
      const inSight = (place >= from && place < to) || row === kept || before?.rows[place] === shown || sameRun(before?.rows[place], shown);
      if (shown && kindOf(shown) === row.kind && inSight) row.show(shown, place);
      else release(place, row);
    }
    if (next.rows.length && height) update();
    drop();
    if (resting) rest();
    // Another run may now stand under the pointer, which has not moved.
    if (pointed?.isConnected) pointAt(pointed);
  };

  const keyAt = (of: Scene, row: TableRow): string | null => {
    for (const [place, one] of placed) if (one === row && of.rows[place]) return keyOf(of.rows[place]);
    return null;
  };

  /** The focus stays with its run, and not with the place where that was. */
  const settle = (kept: TableRow, key: string) => {
    const place = present().rows.findIndex((row) => kindOf(row) === kept.kind && keyOf(row) === key);
    for (const [at, row] of placed) if (row === kept) placed.delete(at);
    if (place < 0) {
      kept.element.remove();
      return;
    }
    const other = placed.get(place);
    if (other) release(place, other);
    placed.set(place, kept);
  };

  const look = (newTop: number, newHeight: number) => {
    if (newTop !== top) down = newTop > top;
    top = newTop;
    height = newHeight;
    if (scene?.rows.length && height) update();
  };

  const pointAt = (target: Element | null) => {
    pointed = target;
    const row = target?.closest("tr");
    if (row) rowOf.get(row)?.point(target!);
    else if (scene) scene.hovered.value = null;
  };
  const over = (event: MouseEvent) => pointAt(event.target as Element);
  const leave = () => pointAt(null);
  body.addEventListener("mouseover", over);
  body.addEventListener("mouseleave", leave);

  return {
    draw,
    look,
    mark: (cursor, hovered) => placed.forEach((row) => row.mark(cursor, hovered)),
    tick: () => placed.forEach((row) => row.tick()),
    close() {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      cancelAnimationFrame(restFrame);
      body.removeEventListener("mouseover", over);
      body.removeEventListener("mouseleave", leave);
    },
  };
}

function* range(from: number, to: number): Generator<number> {
  for (let place = from; place < to; place++) yield place;
}

function* backwards(from: number, to: number): Generator<number> {
  for (let place = from; place >= to; place--) yield place;
}

/** Where the longest stretch begins that follows one another in the document already. */
function longest(rows: readonly Element[]): number {
  let best = 0;
  let length = 0;
  let begin = 0;
  rows.forEach((row, at) => {
    if (at && rows[at - 1]!.nextSibling !== row) begin = at;
    if (at - begin + 1 > length) {
      length = at - begin + 1;
      best = begin;
    }
  });
  return best;
}

function sameRun(one: Row | undefined, other: Row | undefined): boolean {
  return one !== undefined && other !== undefined && "run" in one && "run" in other && one.run === other.run;
}
