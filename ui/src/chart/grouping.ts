// Many runs as a few lines: the mean of each group, and a band that says how far its runs lie apart.
import type { Run } from "../api";
import { plain } from "../format";
import { compareValues } from "../views/runs/columns";
import { fieldValue, fieldWords } from "../views/runs/fields";
import { Line } from "./line";
import type { Band } from "./view";

export interface Grouping {
  field: string;
  /** Ids of the groups in the order of their values, with the runs of each. */
  groups: ReadonlyMap<string, { words: string; runIds: string[] }>;
  groupOf: ReadonlyMap<string, string>;
}

const NONE = "(none)";
/** More places than this a chart cannot show. */
const MOST_PLACES = 800;

export function groupingBy(field: string, runs: readonly Run[]): Grouping {
  const members = new Map<string, string[]>();
  const keys = new Map<string, number | string | null>();
  for (const run of runs) {
    const value = fieldValue(run, field);
    const words = value === null || (Array.isArray(value) && !value.length) ? NONE : plain(value);
    members.set(words, [...(members.get(words) ?? []), run.runId]);
    keys.set(words, words === NONE ? null : typeof value === "number" ? value : words.toLowerCase());
  }
  const ordered = [...members].sort(([a], [b]) => compareValues(keys.get(a)!, keys.get(b)!, false));
  const groups = new Map(ordered.map(([value, runIds]) => [
    `group ${value}`, { words: `${fieldWords(field)} ${value} (${runIds.length})`, runIds },
  ]));
  const groupOf = new Map([...groups].flatMap(([id, { runIds }]) => runIds.map((runId): [string, string] => [runId, id])));
  return { field, groups, groupOf };
}

/** One line for several: at every place the mean of those that reach it, between their values drawn straight. */
export function meanLine(lines: readonly Line[], band: Band): Line {
  const drawn = lines.filter((line) => line.length);
  const x = places(drawn);
  const columns = { x, min: new Float64Array(x.length), max: new Float64Array(x.length), mean: new Float64Array(x.length), last: x };
  const cursors = drawn.map(() => 0);
  for (let at = 0; at < x.length; at++) {
    let count = 0;
    let mean = NaN;
    let squares = 0;
    let low = Infinity;
    let high = -Infinity;
    drawn.forEach((line, index) => {
      if (x[at]! < line.x[0]! || x[at]! > line.lastX) return;
      let after = cursors[index]!;
      while (after < line.length - 1 && line.x[after]! < x[at]!) after++;
      cursors[index] = after;
      const share = after === 0 || line.x[after] === x[at] ? 1 : (x[at]! - line.x[after - 1]!) / (line.x[after]! - line.x[after - 1]!);
      const between = (values: Float64Array) => (share === 1 ? values[after]! : values[after - 1]! * (1 - share) + values[after]! * share);
      const value = between(line.mean);
      if (!Number.isFinite(value)) return;
      // Welford's way: squares of large numbers would leave nothing of a small difference.
      const away = count ? value - mean : 0;
      mean = count ? mean + away / (count + 1) : value;
      squares += away * (value - mean);
      count++;
      low = Math.min(low, between(line.min));
      high = Math.max(high, between(line.max));
    });
    const deviation = Math.sqrt(squares / count);
    columns.mean[at] = mean;
    columns.min[at] = band === "std" ? mean - deviation : low;
    columns.max[at] = band === "std" ? mean + deviation : high;
  }
  return new Line({ ...columns, last: columns.mean });
}

/** All x of the lines, or evenly many of them. */
function places(lines: readonly Line[]): Float64Array {
  const all = new Float64Array(lines.reduce((sum, line) => sum + line.length, 0));
  let filled = 0;
  for (const line of lines) {
    all.set(line.x.subarray(0, line.length), filled);
    filled += line.length;
  }
  all.sort();
  const unique = all.filter((value, at) => at === 0 || value !== all[at - 1]);
  if (unique.length <= MOST_PLACES) return unique;
  const step = (unique.length - 1) / (MOST_PLACES - 1);
  return Float64Array.from({ length: MOST_PLACES }, (_, at) => unique[Math.round(at * step)]!);
}
