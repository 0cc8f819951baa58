import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren, RefObject, VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface Scale {
  words: string;
  ticks: readonly { at: number; words: string }[];
}

interface FrameProps {
  x: Scale;
  y: Scale;
  /** What a reader hears instead of the drawing. */
  label: string;
  height?: number;
  /** As wide as there is room, up to this. */
  widest?: number;
  /** `group` when there is something to reach inside. */
  role?: "group" | "img";
  caption?: ComponentChildren;
  /** Where a place between 0 and 1 lies. */
  children: (across: (at: number) => number, down: (at: number) => number) => VNode | VNode[];
}

const BOTTOM = 40;
const TOP = 12;
const RIGHT = 16;
const LEFT = 84;
const NARROW_LEFT = 64;
const NARROW = 480;
/** Labels closer than this would touch. */
const TICK_ROOM = 44;

/** The width of what `box` is put on, in pixels, up to the widest. */
export function useWidth(widest: number): { box: RefObject<HTMLElement>; width: Signal<number> } {
  const box = useRef<HTMLElement>(null);
  const width = useSignal(widest);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => (width.value = Math.min(widest, Math.max(160, entry!.contentRect.width))));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return { box, width };
}

/** Two axes, as wide as there is room, and what is drawn between them. */
export function Frame({ x, y, label, height = 440, widest = 1000, role = "img", caption, children }: FrameProps) {
  const { box, width } = useWidth(widest);
  const left = width.value < NARROW ? NARROW_LEFT : LEFT;
  const edge = width.value - RIGHT;
  const across = (at: number) => left + at * (edge - left);
  const down = (at: number) => height - BOTTOM - at * (height - BOTTOM - TOP);
  let last = -Infinity;
  const fitting = x.ticks.filter(({ at }) => {
    if (across(at) - last < TICK_ROOM && role === "img" && x.ticks.length > 3) return false;
    last = across(at);
    return true;
  });
  return (
    <figure class="drawing" ref={box}>
      <svg viewBox={`0 0 ${width.value} ${height}`} style={{ width: `${width.value}px` }} role={role} aria-label={label}>
        {y.ticks.map((tick) => (
          <g key={tick.words}>
            <line class="grid-line" x1={left} x2={edge} y1={down(tick.at)} y2={down(tick.at)} />
            <text class="tick" x={left - 8} y={down(tick.at) + 4} text-anchor="end">{short(tick.words, left === LEFT ? LONGEST : SHORTEST)}</text>
          </g>
        ))}
        {fitting.map((tick) => <text key={tick.words} class="tick" x={across(tick.at)} y={height - BOTTOM + 16} text-anchor="middle">{short(tick.words)}</text>)}
        <line class="axis-line" x1={left} x2={edge} y1={height - BOTTOM} y2={height - BOTTOM} />
        <text class="axis-name" x={(left + edge) / 2} y={height - 4} text-anchor="middle">{short(x.words, 40)}</text>
        <text class="axis-name" x={-(height - BOTTOM) / 2} y={12} text-anchor="middle" transform="rotate(-90)">{short(y.words, 40)}</text>
        {children(across, down)}
      </svg>
      {caption !== undefined && <figcaption>{caption}</figcaption>}
    </figure>
  );
}

const LONGEST = 14;
const SHORTEST = 9;

export function short(text: string, most = LONGEST): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** From blue to orange, which differ for all eyes; grey without a value. */
export function shadeOf(at: number | null): string {
  return at === null ? "var(--muted)" : `color-mix(in oklab, #e06c00 ${Math.round(100 * at)}%, #1f7bd0)`;
}
