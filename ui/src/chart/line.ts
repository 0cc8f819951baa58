import type { Columns } from "./columns";

/**
 * One run's values of one metric as they are drawn: buckets from the server, then live points at the end, each a
 * bucket of its own. `x` never decreases.
 */
export class Line {
  x: Float64Array;
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  length: number;
  /** Changes whenever a value does. */
  revision = 0;
  /** The newest value itself, which is not the mean of the bucket it lies in. */
  last: number | null;

  constructor(columns: Pick<Columns, "x" | "min" | "max" | "mean" | "last"> | null) {
    const none = new Float64Array(0);
    this.x = columns?.x ?? none;
    this.min = columns?.min ?? none;
    this.max = columns?.max ?? none;
    this.mean = columns?.mean ?? none;
    this.length = this.x.length;
    this.last = columns?.last.at(-1) ?? null;
  }

  get lastX(): number {
    return this.length ? this.x[this.length - 1]! : -Infinity;
  }

  /** Adds a point at the end, or replaces the last one at the same x. False when it belongs further back. */
  append(x: number, value: number): boolean {
    if (x < this.lastX) return false;
    if (x > this.lastX) {
      if (this.length === this.x.length) this.grow();
      this.length += 1;
    }
    const at = this.length - 1;
    this.revision++;
    this.x[at] = x;
    this.min[at] = this.max[at] = this.mean[at] = this.last = value;
    return true;
  }

  /** The index of the value nearest to `x`, -1 when there is none. */
  nearest(x: number): number {
    if (!this.length) return -1;
    const after = Math.min(this.firstAtOrAfter(x), this.length - 1);
    const before = Math.max(after - 1, 0);
    return x - this.x[before]! <= this.x[after]! - x ? before : after;
  }

  firstAtOrAfter(x: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.x[middle]! < x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private grow(): void {
    const capacity = Math.max(64, this.length * 2);
    const grown = (old: Float64Array) => {
      const array = new Float64Array(capacity);
      array.set(old.subarray(0, this.length));
      return array;
    };
    this.x = grown(this.x);
    this.min = grown(this.min);
    this.max = grown(this.max);
    this.mean = grown(this.mean);
  }
}
