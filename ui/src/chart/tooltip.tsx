import type { Marker, XAxis } from "../api";
import { dateTime, duration, number, plain } from "../format";
import type { CursorAt, Reading } from "./plot";
import { axisMetric } from "./view";

const SHOWN = 8;
const SHOWN_WIDE = 24;
/** In a chart narrower than this a list would hide the lines it is about. */
const WIDE_PX = 560;

interface ValueProps {
  reading: Reading | undefined;
  last: number | null;
  at: CursorAt | null;
  x: XAxis;
}

/** The value at the cursor, or the last one while there is no cursor. */
export function Value({ reading, last, at, x }: ValueProps) {
  if (!at || !reading) return <output class="value">{last === null ? "" : number(last)}</output>;
  return (
    <output class="value" title={`${reading.value}`}>
      <span class="at">{position(at.x, x)}</span> {number(reading.value)}
      {reading.min < reading.max && <span class="at"> {number(reading.min)}…{number(reading.max)}</span>}
    </output>
  );
}

interface TooltipProps {
  at: CursorAt;
  x: XAxis;
  alone: boolean;
  hovered: string | null;
  plot: HTMLElement;
}

export function Tooltip({ at, x, alone, hovered, plot }: TooltipProps) {
  if (alone && !at.markers.length) return null;
  const { width, bottom } = plot.getBoundingClientRect();
  const wide = width >= WIDE_PX;
  const most = wide ? SHOWN_WIDE : SHOWN;
  const shown = at.readings.filter(({ stroke }, index) => index < most || stroke.id === hovered);
  const side = at.left > at.width / 2 ? "left" : "right";
  const place = wide || alone ? "" : bottom > innerHeight * 0.7 ? "above" : "below";
  return (
    <div class={`tooltip ${side} ${place}`}>
      {at.markers.slice(0, SHOWN).map(({ marker, name }) => (
        <p class={marker.kind === "non_finite" ? "bad" : ""}>{name && <span class="at">{name}: </span>}{markerText(marker)}</p>
      ))}
      {!alone && (
        <>
          <p class="at">{position(at.x, x)}</p>
          {shown.map(({ stroke, value, min, max }) => (
            <p class={stroke.id === hovered ? "reading hovered" : "reading"}>
              <Swatch color={stroke.color} dash={stroke.dash} />
              <span class="name">{stroke.name}</span>
              <b>{number(value)}</b>
              {wide && stroke.id === hovered && min < max && <span class="at">{number(min)}…{number(max)}</span>}
            </p>
          ))}
          {at.readings.length > shown.length && <p class="at">and {at.readings.length - shown.length} more</p>}
        </>
      )}
    </div>
  );
}

/** A piece of a line, with its dash: after twelve runs the colours come again. */
export function Swatch({ color, dash }: { color: string; dash: readonly number[] }) {
  return (
    <svg class="line-swatch" width="18" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="18" y2="4" stroke={color} stroke-width="2" stroke-dasharray={dash.join(" ")} />
    </svg>
  );
}

export function markerText({ kind, name, step, attrs }: Marker): string {
  const where = step === null ? "" : ` at step ${number(step)}`;
  const details = Object.entries(attrs).map(([key, value]) => `${key} ${plain(value)}`);
  const what = kind === "non_finite" ? `${name} was not finite` : name === kind ? kind : `${kind}: ${name}`;
  return what + where + (details.length ? ` (${details.join(", ")})` : "");
}

function position(value: number, x: XAxis): string {
  const metric = axisMetric(x);
  if (metric) return `${metric} ${number(value)}`;
  if (x === "step") return `step ${Math.round(value).toLocaleString("en-US")}`;
  return x === "wall" ? dateTime(value * 1000) : duration(value * 1000);
}
