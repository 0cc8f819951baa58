import { placeColor, placeDash, runColor, runDash } from "../colors";
import type { ChartContext } from "./chart";
import { Swatch } from "./tooltip";

/** The names of the lines; the one under the pointer stands out in every chart. */
export function Legend({ context: { runs, grouping, hover } }: { context: ChartContext }) {
  const entries = grouping
    ? [...grouping.groups].map(([id, { words }], place) => ({ id, name: words, color: placeColor(place), dash: placeDash(place) }))
    : [...runs].map(([id, { name }]) => ({ id, name, color: runColor(id), dash: runDash(id) }));
  const now = hover.now.value;
  const hovered = grouping?.groupOf.get(now ?? "") ?? now;
  return (
    <ul class="legend" aria-label="Lines">
      {entries.map(({ id, name, color, dash }) => (
        <li
          key={id} class={id === hovered ? "hovered" : ""} title={name}
          onPointerEnter={() => (hover.now.value = id)} onPointerLeave={() => (hover.now.value = null)}
        >
          <Swatch color={color} dash={dash} />
          <span class="name">{name}</span>
        </li>
      ))}
    </ul>
  );
}
