import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { number } from "../../format";
import type { Cell } from "./media.api";
import { decoded } from "./media.picture";
import { asNumber, type ColumnKind } from "./tables.order";

/** Longer texts open on a click. */
const LONG = 120;

interface PictureCell {
  _type: "image";
  data?: string;
  contentType?: string;
  width?: number;
  height?: number;
  caption?: string;
  error?: string;
}

function isPicture(cell: Cell): boolean {
  return typeof cell === "object" && cell !== null && !Array.isArray(cell) && cell["_type"] === "image";
}

/** What a filter looks at. */
export function cellText(cell: Cell): string {
  if (cell === null) return "";
  if (typeof cell === "string") return cell;
  return isPicture(cell) ? (cell as unknown as PictureCell).caption ?? "" : JSON.stringify(cell);
}

export function CellView({ cell, kind }: { cell: Cell; kind: ColumnKind }) {
  if (cell === null) return <td class={kind === "number" ? "figure muted" : "muted"}>–</td>;
  if (isPicture(cell)) return <td><CellPicture picture={cell as unknown as PictureCell} /></td>;
  const value = asNumber(cell);
  if (kind === "number" && value !== null) return <td class="figure" title={cellText(cell)}>{number(value)}</td>;
  return <td><Words text={cellText(cell)} code={typeof cell !== "string"} /></td>;
}

function Words({ text, code }: { text: string; code: boolean }) {
  const open = useSignal(false);
  const kind = code ? "code" : undefined;
  if (text.length <= LONG && !text.includes("\n")) return <span class={kind}>{text}</span>;
  return (
    <button class={`long ${open.value ? "open" : ""} ${kind ?? ""}`} aria-expanded={open.value} onClick={() => (open.value = !open.value)}>
      {text}
    </button>
  );
}

/** A picture in a cell comes inside the table's own file. */
function CellPicture({ picture }: { picture: PictureCell }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const problem = useSignal(picture.error ?? null);
  const { data, contentType = "image/png" } = picture;
  useEffect(() => {
    if (!data) return;
    let current = true;
    void decoded(data, contentType).then((bitmap) => {
      const target = canvas.current;
      if (!current || !target) return;
      if (!bitmap) {
        problem.value = `This browser cannot show ${contentType}.`;
        return;
      }
      [target.width, target.height] = [bitmap.width, bitmap.height];
      target.classList.toggle("small", bitmap.height < 64);
      target.getContext("2d")!.drawImage(bitmap, 0, 0);
    });
    return () => {
      current = false;
    };
  }, [data, contentType]);
  if (problem.value) return <span class="bad">{problem.value}</span>;
  return (
    <span class="cell-picture">
      <canvas ref={canvas} role="img" aria-label={picture.caption ?? "picture"} />
      {picture.caption && <span class="muted">{picture.caption}</span>}
    </span>
  );
}
