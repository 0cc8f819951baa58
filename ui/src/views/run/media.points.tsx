import { useEffect, useRef } from "preact/hooks";
import type { MediaItem } from "./media.api";
import { Content, Download, json } from "./media.file";

const SIZE = 360;

interface Points {
  points: number[][];
}

/** A cloud of points that can be turned; other scenes are files to take along. */
export function SceneView({ item }: { item: MediaItem }) {
  const isCloud = item.contentType === "application/json" && typeof item.metadata["points"] === "number";
  return (
    <div class="scene">
      {isCloud && <Content<Points> item={item} load={json}>{({ points }) => <Cloud points={points} />}</Content>}
      <Download item={item} words={isCloud ? "JSON" : "scene"} />
    </div>
  );
}

function Cloud({ points }: Points) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const turned = useRef({ around: 0.6, over: 0.4 });
  const draw = () => {
    const target = canvas.current;
    if (target) paint(target, points, turned.current.around, turned.current.over);
  };
  useEffect(draw, [points]);
  const turn = (event: PointerEvent) => {
    if (!event.buttons) return;
    turned.current.around += event.movementX / 100;
    turned.current.over += event.movementY / 100;
    draw();
  };
  const hold = (event: PointerEvent) => canvas.current?.setPointerCapture(event.pointerId);
  return (
    <canvas
      ref={canvas} width={SIZE} height={SIZE} onPointerDown={hold} onPointerMove={turn} role="img"
      aria-label={`${points.length.toLocaleString("en-US")} points; drag to turn them`}
    />
  );
}

function paint(canvas: HTMLCanvasElement, points: number[][], around: number, over: number): void {
  const context = canvas.getContext("2d")!;
  const middle = [0, 1, 2].map((axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (const point of points) [low, high] = [Math.min(low, point[axis]!), Math.max(high, point[axis]!)];
    return [(low + high) / 2, (high - low) / 2] as const;
  });
  const scale = (SIZE * 0.42) / (Math.max(...middle.map(([, half]) => half)) || 1) / Math.SQRT2;
  const [sin, cos, rise, level] = [Math.sin(around), Math.cos(around), Math.sin(over), Math.cos(over)];
  context.clearRect(0, 0, SIZE, SIZE);
  const plain = getComputedStyle(canvas).color;
  for (const point of points) {
    const [px, py, pz] = [0, 1, 2].map((axis) => point[axis]! - middle[axis]![0]) as [number, number, number];
    const across = px * cos - py * sin;
    const deep = px * sin + py * cos;
    context.fillStyle = point.length === 6 ? `rgb(${point[3]} ${point[4]} ${point[5]})` : plain;
    context.fillRect(SIZE / 2 + across * scale, SIZE / 2 - (pz * level - deep * rise) * scale, 1.5, 1.5);
  }
}
