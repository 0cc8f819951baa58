import { tick } from "../../format";
import type { MediaItem } from "./media.api";
import { Content, Download, json } from "./media.file";
import { drawing, type Drawing, type PlotlyFigure, type Scale, type Shape } from "./media.drawing";

const WIDTH = 480;
const HEIGHT = 260;
const LEFT = 48;
const BOTTOM = 32;
const TOP = 8;
const TICKS = 5;
const MOST_NAMES = 12;

/** A figure of Plotly, drawn as far as it is simple; for the rest there is its JSON. */
export function PlotlyView({ item }: { item: MediaItem }) {
  return (
    <Content<PlotlyFigure> item={item} load={json}>
      {(figure) => {
        const drawn = drawing(figure);
        return (
          <div class="plotly">
            {drawn.title && <p class="plotly-title">{drawn.title}</p>}
            {drawn.shapes.length > 0 && <Plot {...drawn} />}
            <p class="muted">
              {drawn.missing.length > 0 && <>Not drawn here: {drawn.missing.join(", ")}. </>}
              <Download item={item} words="JSON" />
            </p>
          </div>
        );
      }}
    </Content>
  );
}

function Plot({ x, y, shapes }: Drawing) {
  const across = (at: number) => LEFT + part(at, x) * (WIDTH - LEFT - 8);
  const up = (at: number) => TOP + (1 - part(at, y)) * (HEIGHT - TOP - BOTTOM);
  const named = shapes.filter((shape, at) => shape.name && shapes.findIndex((other) => other.name === shape.name) === at);
  return (
    <>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label="Figure">
        {ticks(x).map(([at, words]) => (
          <g>
            <line class="gridline" x1={across(at)} x2={across(at)} y1={TOP} y2={HEIGHT - BOTTOM} />
            <text x={across(at)} y={HEIGHT - BOTTOM + 12} text-anchor="middle">{words}</text>
          </g>
        ))}
        {ticks(y).map(([at, words]) => (
          <g>
            <line class="gridline" x1={LEFT} x2={WIDTH - 8} y1={up(at)} y2={up(at)} />
            <text x={LEFT - 4} y={up(at) + 3} text-anchor="end">{words}</text>
          </g>
        ))}
        {shapes.map((shape) => <Drawn shape={shape} across={across} up={up} />)}
        {x.title && <text class="axis-title" x={(WIDTH + LEFT) / 2} y={HEIGHT - 4} text-anchor="middle">{x.title}</text>}
        {y.title && <text class="axis-title" transform={`translate(10 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)`} text-anchor="middle">{y.title}</text>}
      </svg>
      {named.length > 1 && (
        <p class="legend">
          {named.map((shape) => <span><i style={{ background: shape.kind === "cells" ? "none" : shape.color }} />{shape.name}</span>)}
        </p>
      )}
    </>
  );
}

type Place = (at: number) => number;

function Drawn({ shape, across, up }: { shape: Shape; across: Place; up: Place }) {
  switch (shape.kind) {
    case "line":
      return <path class="trace" d={path(shape.points, across, up)} stroke={shape.color} />;
    case "points":
      return (
        <>
          {shape.points.filter(([px, py]) => Number.isFinite(px) && Number.isFinite(py)).map(([px, py, words]) => (
            <circle cx={across(px)} cy={up(py)} r="2.5" fill={shape.color}><title>{words}</title></circle>
          ))}
        </>
      );
    case "bars":
      return <>{shape.bars.map(([left, right, from, to, words]) => <Rectangle {...{ left, right, from, to, words, across, up }} fill={shape.color} />)}</>;
    case "cells":
      return (
        <>
          {shape.cells.map(([left, right, from, to, amount, words]) => (
            <Rectangle {...{ left, right, from, to, words, across, up }} class="cell" opacity={0.06 + 0.94 * amount} />
          ))}
        </>
      );
  }
}

interface RectangleProps {
  left: number;
  right: number;
  from: number;
  to: number;
  words: string;
  across: Place;
  up: Place;
  fill?: string;
  class?: string;
  opacity?: number;
}

function Rectangle({ left, right, from, to, words, across, up, ...looks }: RectangleProps) {
  return (
    <rect x={across(left)} y={up(to)} width={Math.max(0.5, across(right) - across(left))} height={Math.max(0.5, up(from) - up(to))} {...looks}>
      <title>{words}</title>
    </rect>
  );
}

/** A gap in the values is a gap in the line. */
function path(points: [number, number, string][], across: Place, up: Place): string {
  let pen = "M";
  let text = "";
  for (const [px, py] of points) {
    if (Number.isFinite(px) && Number.isFinite(py)) {
      text += `${pen}${across(px).toFixed(1)} ${up(py).toFixed(1)}`;
      pen = "L";
    } else {
      pen = "M";
    }
  }
  return text;
}

function part(at: number, { low, high }: Scale): number {
  return high > low ? (at - low) / (high - low) : 0.5;
}

/** Round numbers, powers of ten, or names, and where they lie. */
function ticks({ low, high, log, names }: Scale): [number, string][] {
  if (names) {
    const every = Math.ceil(names.length / MOST_NAMES);
    return names.flatMap((name, at): [number, string][] => (at % every ? [] : [[at, name.slice(0, 16)]]));
  }
  if (!(high > low)) return Number.isFinite(low) ? [[low, tick(log ? 10 ** low : low)]] : [];
  const rough = (high - low) / TICKS;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = log ? Math.max(1, Math.round(rough)) : size * ([1, 2, 5, 10].find((times) => size * times >= rough) ?? 10);
  const found: [number, string][] = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push([at, tick(log ? 10 ** at : Number(at.toPrecision(12)))]);
  return found;
}
