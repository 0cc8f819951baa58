// Numbers and times as people read them.

/** Four to six significant digits; whole numbers below a million in full. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return value.toLocaleString("en-US");
  if (size >= 1e6 || size < 1e-3) return exponent(value.toExponential(3));
  return value.toPrecision(size >= 1000 ? 6 : 4);
}

const NARROW = 7;

/** The same in the width of a table's column. */
export function narrow(value: number): string {
  const text = number(value);
  return text.length <= NARROW ? text : exponent(value.toExponential(2));
}

function exponent(text: string): string {
  return text.replace(/\.?0*e/, "e").replace("e+", "e");
}

/** As short as an axis needs: 10k, 1.5M, 2e-4. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e12 || size < 1e-3) return exponent(value.toExponential(2));
  if (size >= 1e9) return short(value / 1e9) + "G";
  if (size >= 1e6) return short(value / 1e6) + "M";
  if (size >= 1e4) return short(value / 1e3) + "k";
  return short(value);
}

function short(value: number): string {
  return String(Number(value.toPrecision(6)));
}

/** Whatever a config or a summary may hold, exactly, in one line. */
export function plain(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

const UNITS: [string, number][] = [
  ["d", 86400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
];

/** The two largest units: `2h 5m`, `41m 3s`, `12s`. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0s";
  const [name, size] = UNITS[first]!;
  const next = UNITS[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${Math.floor(seconds / size)}${name}` + (next && rest ? ` ${rest}${next[0]}` : "");
}

export function ago(timeMs: number, nowMs: number): string {
  const passed = nowMs - timeMs;
  if (passed < 5000) return "just now";
  return duration(passed).split(" ")[0] + " ago";
}

export function clock(timeMs: number): string {
  return new Date(timeMs).toLocaleTimeString([], { hour12: false });
}

export function dateTime(timeMs: number): string {
  return new Date(timeMs).toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hour12: false });
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(size: number): string {
  const unit = size < 1 ? 0 : Math.min(BYTES.length - 1, Math.floor(Math.log2(size) / 10));
  const amount = size / 2 ** (10 * unit);
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toPrecision(3)} ${BYTES[unit]}`;
}

export function count(amount: number, noun: string): string {
  return `${amount.toLocaleString("en-US")} ${noun}${amount === 1 ? "" : "s"}`;
}

/** Nested mappings as dotted names, in the order they were written. Lists stay values. */
export function flattened(value: Record<string, unknown>, prefix = ""): [string, unknown][] {
  return Object.entries(value).flatMap(([name, inner]) =>
    isMapping(inner) ? flattened(inner, `${prefix}${name}.`) : [[prefix + name, inner] as [string, unknown]],
  );
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
}
