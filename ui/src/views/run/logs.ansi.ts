// Colours in log lines: the SGR sequences of ECMA-48 as classes; every other escape is taken out.

export interface Piece {
  text: string;
  classes: string;
  /** Colours that have no class: of the 256, or given as red, green and blue. */
  color?: string;
  background?: string;
}

interface Style {
  marks: Set<string>;
  color?: string;
  background?: string;
}

const ESCAPE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x1b\ufffd]*(?:\ufffd|\x1b\\)?|[^[\]]|$)/g;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const MARKS = new Map([[1, "bold"], [2, "dim"], [3, "italic"], [4, "underline"], [7, "inverse"], [9, "strike"]]);
const ENDS = new Map([[22, ["bold", "dim"]], [23, ["italic"]], [24, ["underline"]], [27, ["inverse"]], [29, ["strike"]]]);
const STEPS = [0, 95, 135, 175, 215, 255];

/** The line as pieces of one style each; a style ends with its line. */
export function pieces(line: string): Piece[] {
  if (!line.includes("\x1b")) return [{ text: line, classes: "" }];
  const found: Piece[] = [];
  let style: Style = { marks: new Set() };
  let from = 0;
  const put = (text: string) => {
    if (!text) return;
    const { marks, color, background } = style;
    found.push({ text, classes: [...marks].map((mark) => `ansi-${mark}`).join(" "), color, background });
  };
  for (const match of line.matchAll(ESCAPE)) {
    put(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") style = changed(style, match[1] ?? "");
  }
  put(line.slice(from));
  return found;
}

function changed(style: Style, codes: string): Style {
  let next: Style = { marks: new Set(style.marks), color: style.color, background: style.background };
  const numbers = codes.split(/[;:]/).map(Number);
  for (let i = 0; i < numbers.length; i++) {
    const code = numbers[i]!;
    if (code === 38 || code === 48) {
      const [css, used] = extended(numbers, i + 1);
      paint(next, code === 38 ? "fg" : "bg", null, css);
      i += used;
    } else if (code === 0) next = { marks: new Set() };
    else if (MARKS.has(code)) next.marks.add(MARKS.get(code)!);
    else if (ENDS.has(code)) for (const mark of ENDS.get(code)!) next.marks.delete(mark);
    else if (code === 39 || code === 49) paint(next, code === 39 ? "fg" : "bg", null);
    else if (code >= 30 && code <= 37) paint(next, "fg", NAMES[code - 30]!);
    else if (code >= 40 && code <= 47) paint(next, "bg", NAMES[code - 40]!);
    else if (code >= 90 && code <= 97) paint(next, "fg", NAMES[code - 90]!);
    else if (code >= 100 && code <= 107) paint(next, "bg", NAMES[code - 100]!);
  }
  return next;
}

function paint(style: Style, ground: "fg" | "bg", name: string | null, css?: string): void {
  for (const mark of style.marks) if (mark.startsWith(ground + "-")) style.marks.delete(mark);
  if (name) style.marks.add(`${ground}-${name}`);
  if (ground === "fg") style.color = css;
  else style.background = css;
}

/** `5;n` or `2;r;g;b` from position `at` on: the colour, and how many numbers it took. */
function extended(numbers: number[], at: number): [string | undefined, number] {
  if (numbers[at] === 5) return [indexed(numbers[at + 1] ?? 0), 2];
  if (numbers[at] === 2) return [rgb(numbers.slice(at + 1, at + 4)), 4];
  return [undefined, 1];
}

function indexed(index: number): string | undefined {
  if (index < 0 || index > 255 || !Number.isInteger(index)) return undefined;
  if (index < 16) return `var(--ansi-${NAMES[index % 8]})`;
  if (index >= 232) return rgb(Array(3).fill(8 + 10 * (index - 232)));
  const cell = index - 16;
  return rgb([STEPS[Math.floor(cell / 36)]!, STEPS[Math.floor(cell / 6) % 6]!, STEPS[cell % 6]!]);
}

function rgb(parts: number[]): string | undefined {
  const sound = parts.length === 3 && parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 255);
  return sound ? `rgb(${parts.join(" ")})` : undefined;
}
