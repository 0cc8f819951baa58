// The cells of a run's row. They are made once and then show one run after another: what differs is written, and no more.
import { render } from "preact";
import type { Run, Status as StatusName } from "../../api";
import { dateTime, duration, plain } from "../../format";
import { Status } from "../../parts/status";
import { classOf, element, textOf } from "./dom";
import { editableCell } from "./edit";
import { fieldKind, fieldValue, valueText } from "./fields";
import type { ProjectModel } from "./model";

export interface Cell {
  readonly element: HTMLTableCellElement;
  /** `width` is that of the column, in CSS pixels. */
  show(run: Run, width: number): void;
  /** What the pointer is told over the cell. */
  title?(run: Run): string;
  /** Whether it tells how long ago something was, and so changes by itself. */
  readonly ages?: boolean;
}

/** No figure of a table's type is wider; with the cell's padding. */
const FIGURE_WIDTH = 8;
const PADDING = 8;

export function runCell(column: string, figure: boolean, model: ProjectModel): Cell {
  if (column === "status") return statusCell();
  if (column === "time") return timeCell();
  if (column === "tags" || column === "notes") return editableCell(column, model);
  return valueCell(column, figure);
}

const shapes = new Map<StatusName, Element>();

function shape(status: StatusName): Node {
  let found = shapes.get(status);
  if (!found) {
    const place = document.createElement("span");
    render(<Status status={status} />, place);
    shapes.set(status, (found = place.firstElementChild!));
  }
  return found.cloneNode(true);
}

function statusCell(): Cell {
  const cell = element("td", { role: "cell" });
  let last: StatusName | null = null;
  const show = ({ status }: Run) => {
    if (status !== last) cell.replaceChildren(shape((last = status)));
  };
  return { element: cell, show };
}

function timeCell(): Cell {
  const time = element("time");
  const write = textOf(time);
  return {
    element: element("td", { role: "cell", class: "figure muted" }, time),
    show: (run) => write(duration((run.finishedAtMs ?? Date.now()) - run.startedAtMs)),
    title: (run) => `since ${dateTime(run.startedAtMs)}`,
    ages: true,
  };
}

function valueCell(column: string, figure: boolean): Cell {
  const cell = element("td", { role: "cell" });
  const write = textOf(cell);
  const setClass = classOf(cell);
  const kind = fieldKind(column);
  return {
    element: cell,
    show(run, width) {
      const value = fieldValue(run, column);
      const words = valueText(column, value, true);
      write(words);
      // A cell that clips costs when it is drawn; figures seldom need it.
      const clip = !figure || words.length * FIGURE_WIDTH + PADDING > width;
      setClass(`${figure ? "figure" : "value"}${value === null ? " muted" : ""}${clip ? " clip" : ""}`);
    },
    title(run) {
      const value = fieldValue(run, column);
      return value === null ? "" : exactly(run, column, value);
    },
    ages: kind === "date" || kind === "duration",
  };
}

function exactly(run: Run, column: string, value: unknown): string {
  if (column === "best" && run.primaryMetric) {
    const { name, mode, step } = run.primaryMetric;
    const where = step === null ? "" : ` at step ${step.toLocaleString("en-US")}`;
    return `${mode === "max" ? "Highest" : "Lowest"} ${name}: ${value}${where}`;
  }
  return fieldKind(column) === "date" ? dateTime(value as number) : plain(value);
}
