// What changed between two texts, line by line.

export interface Line {
  sign: " " | "+" | "-" | "…";
  text: string;
}

const CONTEXT = 3;
/** Cells of the table of common lines at most: beyond it the middle is shown as replaced whole. */
const MOST_CELLS = 4_000_000;

/** The changed lines with three around each, as in a unified diff; `…` stands for what is left out. */
export function changedLines(before: string, after: string): Line[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const lines: Line[] = [
    ...a.slice(0, head).map(same),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...a.slice(a.length - tail).map(same),
  ];
  return shortened(lines);
}

const same = (text: string): Line => ({ sign: " ", text });
const gone = (text: string): Line => ({ sign: "-", text });
const fresh = (text: string): Line => ({ sign: "+", text });

/** By the longest common subsequence. */
function middle(a: string[], b: string[]): Line[] {
  if (a.length * b.length > MOST_CELLS) return [...a.map(gone), ...b.map(fresh)];
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] = a[i] === b[j] ? common[(i + 1) * width + j + 1]! + 1 : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!);
    }
  }
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(same(a[i++]!));
      j++;
    } else if (i < a.length && (j === b.length || common[(i + 1) * width + j]! >= common[i * width + j + 1]!)) lines.push(gone(a[i++]!));
    else lines.push(fresh(b[j++]!));
  }
  return lines;
}

function shortened(lines: Line[]): Line[] {
  const near = new Set<number>();
  lines.forEach(({ sign }, place) => {
    if (sign !== " ") for (let other = place - CONTEXT; other <= place + CONTEXT; other++) near.add(other);
  });
  const shown: Line[] = [];
  lines.forEach((line, place) => {
    if (near.has(place)) shown.push(line);
    else if (shown.at(-1)?.sign !== "…" && near.size) shown.push({ sign: "…", text: "" });
  });
  return shown;
}
