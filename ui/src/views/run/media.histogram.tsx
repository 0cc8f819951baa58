import { number, tick } from "../../format";
import type { HistogramFile, MediaItem } from "./media.api";
import { Content, json } from "./media.file";

const WIDTH = 320;
const HEIGHT = 120;

export function HistogramView({ item }: { item: MediaItem }) {
  return <Content<HistogramFile> item={item} load={json}>{(file) => <Bars {...file} item={item} />}</Content>;
}

function Bars({ edges, counts, item }: HistogramFile & { item: MediaItem }) {
  const [low, high] = [edges[0]!, edges.at(-1)!];
  const { mean, std, count, nonFinite } = item.metadata as Record<string, number | undefined>;
  return (
    <div class="histogram">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`Histogram from ${number(low)} to ${number(high)}`}>
        <BarShapes edges={edges} counts={counts} width={WIDTH} height={HEIGHT} titles />
      </svg>
      <p class="axis"><span>{tick(low)}</span><span>{tick(high)}</span></p>
      <p class="muted">
        {count !== undefined && <>{count.toLocaleString("en-US")} values </>}
        {mean !== undefined && std !== undefined && <>mean {number(mean)} ± {number(std)} </>}
        {nonFinite !== undefined && <span class="bad">{nonFinite.toLocaleString("en-US")} not finite</span>}
      </p>
    </div>
  );
}

interface BarShapesProps {
  edges: readonly number[];
  counts: readonly number[];
  width: number;
  height: number;
  titles?: boolean;
}

/** Bars as wide as their intervals; an empty one takes no room. */
export function BarShapes({ edges, counts, width, height, titles = false }: BarShapesProps) {
  const low = edges[0]!;
  const span = edges.at(-1)! - low || 1;
  const most = Math.max(...counts, 1e-300);
  return (
    <>
      {counts.map((amount, at) => {
        if (!amount) return null;
        const [from, to] = [edges[at]!, edges[at + 1]!];
        const tall = Math.max(1, (amount / most) * height);
        return (
          <rect class="bar" x={((from - low) / span) * width} y={height - tall} width={Math.max(0.5, ((to - from) / span) * width - 0.5)} height={tall}>
            {titles && <title>{`${number(from)} to ${number(to)}: ${amount.toLocaleString("en-US")}`}</title>}
          </rect>
        );
      })}
    </>
  );
}
