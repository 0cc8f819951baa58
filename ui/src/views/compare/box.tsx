import type { Signal } from "@preact/signals";
import type { Run } from "../../api";
import { plain } from "../../format";
import { fieldValue, fieldWords } from "../runs/fields";
import type { Axis } from "./axes";
import { type Dot, Dots } from "./dots";
import { Frame } from "./frame";

interface BoxesProps {
  runs: readonly Run[];
  /** The choice. */
  field: string;
  y: Axis;
  hovered: Signal<Run | null>;
  color: (run: Run) => string;
  best?: Run | undefined;
  height?: number;
  widest?: number;
}

/** Fewer values have no quartiles worth a box. */
const FEWEST = 4;
const MOST_CHOICES = 20;
const SPREAD = 0.5;

/** A box for each choice of a parameter: quartiles, median, whiskers to the last value within 1.5 times the box. */
export function Boxes({ runs, field, y, hovered, color, best, height, widest }: BoxesProps) {
  const names = [...new Set(runs.map((run) => fieldValue(run, field)).filter((value) => value !== null).map(plain))]
    .sort(new Intl.Collator("en", { numeric: true }).compare).slice(0, MOST_CHOICES);
  const wide = 1 / names.length;
  const middle = (place: number) => (place + 0.5) * wide;
  const groups = names.map((name) => runs.flatMap((run) => {
    const v = y.place(run);
    return v !== null && plain(fieldValue(run, field)) === name ? [{ run, v }] : [];
  }).sort((a, b) => a.v - b.v));
  const dots = groups.flatMap((group, place) => group.map(({ run, v }, order): Dot => {
    // Beside each other, so that equal values do not hide one another; the order is that of the values and stays.
    const aside = group.length > 1 ? ((order * 0.618) % 1) - 0.5 : 0;
    return { run, v, h: middle(place) + aside * wide * SPREAD, color: color(run) };
  }));
  const x = { words: fieldWords(field), ticks: names.map((words, place) => ({ at: middle(place), words })) };
  return (
    <Frame x={x} y={y} label={`${y.words} by ${x.words}`} {...(height && { height })} {...(widest && { widest })}>
      {(across, down) => [
        <g key="boxes" class="boxes">
          {groups.map((group, place) => group.length >= FEWEST && (
            <Box key={names[place]} values={group.map(({ v }) => v)} at={middle(place)} width={wide * 0.6} across={across} down={down} />
          ))}
        </g>,
        <Dots key="dots" dots={dots} across={across} down={down} hovered={hovered} best={best} size={3} />,
      ]}
    </Frame>
  );
}

interface BoxProps {
  /** In order. */
  values: readonly number[];
  at: number;
  width: number;
  across: (at: number) => number;
  down: (at: number) => number;
}

function Box({ values, at, width, across, down }: BoxProps) {
  const [low, half, high] = [quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)];
  const reach = 1.5 * (high - low);
  const least = values.find((value) => value >= low - reach)!;
  const most = values.findLast((value) => value <= high + reach)!;
  const [left, right, middle] = [across(at - width / 2), across(at + width / 2), across(at)];
  return (
    <g>
      <line x1={middle} x2={middle} y1={down(least)} y2={down(most)} />
      <rect x={left} width={right - left} y={down(high)} height={Math.max(1, down(low) - down(high))} />
      <line class="median" x1={left} x2={right} y1={down(half)} y2={down(half)} />
    </g>
  );
}

/** Of values in order, between its neighbours. */
export function quantile(values: readonly number[], share: number): number {
  const place = (values.length - 1) * share;
  const below = Math.floor(place);
  return values[below]! + (place - below) * ((values[below + 1] ?? values[below]!) - values[below]!);
}
