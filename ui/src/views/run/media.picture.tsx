// A picture with what lies over it.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { number } from "../../format";
import type { Box, Mask, MediaItem } from "./media.api";

/** Smaller pictures are shown with their pixels. */
const SMALL = 160;
const MASK_ALPHA = 115;

/** Which groups of boxes and masks are switched off, by name. */
export type Hidden = ReadonlySet<string>;

export function overlayNames(items: readonly MediaItem[]): string[] {
  return [...new Set(items.flatMap(({ metadata }) => [...Object.keys(metadata.boxes ?? {}), ...Object.keys(metadata.masks ?? {})]))];
}

interface PictureProps {
  item: MediaItem;
  hidden: Hidden;
  onOpen?: () => void;
}

export function Picture({ item, hidden, onOpen }: PictureProps) {
  const failed = useSignal(false);
  useEffect(() => {
    failed.value = false;
  }, [item.url]);
  const { boxes = {}, masks = {} } = item.metadata;
  const several = Object.keys(boxes).length > 1;
  const words = item.caption ?? `${item.key}, step ${item.step}, ${item.index + 1}`;
  if (failed.value) return <p class="bad">This browser cannot show {item.contentType}. <a href={item.url} download>file</a></p>;
  return (
    <button class="picture" onClick={onOpen} disabled={!onOpen} aria-label={`Enlarge ${words}`}>
      <img
        src={item.url} alt={words} width={item.width ?? undefined} height={item.height ?? undefined} loading="lazy" decoding="async"
        class={(item.width ?? SMALL) < SMALL ? "small" : undefined} onError={() => (failed.value = true)}
      />
      {Object.entries(masks).map(([name, mask]) => !hidden.has(name) && <MaskLayer key={name} mask={mask} />)}
      {Object.entries(boxes).map(([name, group], order) => !hidden.has(name) && <Boxes key={name} boxes={group} group={several ? order : null} />)}
    </button>
  );
}

/** Beside other groups, a group has one colour; alone, each class has its own. */
function Boxes({ boxes, group }: { boxes: readonly Box[]; group: number | null }) {
  return (
    <span class="boxes">
      {boxes.map(({ box: [left, top, right, bottom], label, scores, ...rest }) => {
        const words = [label, ...Object.entries(scores ?? {}).map(([name, score]) => scoreWords(name, score))].filter(Boolean).join(" ");
        const place = { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) };
        const color = hue(group ?? rest.class ?? label ?? 0);
        return (
          <span class="box" style={{ ...place, borderColor: color }}>
            {words && <span style={{ background: color }}>{words}</span>}
          </span>
        );
      })}
    </span>
  );
}

function scoreWords(name: string, score: unknown): string {
  const value = typeof score === "number" ? number(score) : String(score);
  return name === "score" ? value : `${name} ${value}`;
}

const percent = (fraction: number) => `${(100 * fraction).toFixed(3)}%`;

/** The PNG of class numbers, coloured. Class 0 is the ground, and stays clear. */
function MaskLayer({ mask }: { mask: Mask }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let current = true;
    void decoded(mask.png, "image/png").then((bitmap) => {
      const target = canvas.current;
      if (!current || !target || !bitmap) return;
      [target.width, target.height] = [bitmap.width, bitmap.height];
      const context = target.getContext("2d", { willReadFrequently: true })!;
      context.drawImage(bitmap, 0, 0);
      const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
      for (let at = 0; at < image.data.length; at += 4) {
        const [red, green, blue] = classColor(image.data[at]!);
        const alpha = image.data[at] ? MASK_ALPHA : 0;
        image.data.set([red, green, blue, alpha], at);
      }
      context.putImageData(image, 0, 0);
    });
    return () => {
      current = false;
    };
  }, [mask.png]);
  return <canvas class="mask" ref={canvas} />;
}

/** The names of the classes in the masks of some items, with their colours. */
export function MaskLegend({ items, hidden }: { items: readonly MediaItem[]; hidden: Hidden }) {
  const masks = items.flatMap(({ metadata }) => Object.entries(metadata.masks ?? {}));
  const names = new Map(masks.filter(([name]) => !hidden.has(name)).flatMap(([, mask]) => Object.entries(mask.classes)));
  names.delete("0");
  if (!names.size) return null;
  return (
    <span class="legend">
      {[...names].map(([of, name]) => <span key={of}><i style={{ background: `rgb(${classColor(Number(of)).join(" ")})` }} />{name}</span>)}
    </span>
  );
}

/** An embedded picture; null when it is none. The page's policy allows no data: addresses, but bitmaps are no address. */
export async function decoded(base64: string, contentType: string): Promise<ImageBitmap | null> {
  try {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return await createImageBitmap(new Blob([bytes], { type: contentType }), { colorSpaceConversion: "none" });
  } catch {
    // Damaged, or a kind that this browser cannot read; whoever asked shows that it is not there.
    return null;
  }
}

/** Hues that stay apart however many classes there are: steps of the golden angle. */
function classColor(of: number): [number, number, number] {
  const angle = (of * 137.508 + 200) % 360;
  const channel = (shift: number) => {
    const k = (shift + angle / 30) % 12;
    return Math.round(255 * (0.5 - 0.45 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

function hue(of: unknown): string {
  let value = typeof of === "number" ? of : 0;
  if (typeof of === "string") for (const character of of) value = (value * 31 + character.charCodeAt(0)) % 360;
  return `rgb(${classColor(value).join(" ")})`;
}
