import { useEffect, useRef } from "preact/hooks";
import { setQuery } from "../router";
import { Chart, type ChartContext } from "./chart";
import { toggled, useKept } from "./kept";
import { listenOnCharts } from "./keyboard";
import { Legend } from "./legend";
import { chartView, metricFilter, sections } from "./view";

interface GridProps {
  metrics: readonly string[];
  context: ChartContext;
  /** Under which name this browser remembers what is folded. */
  place: string;
  legend: boolean;
}

const PINNED = "★";
/** So many charts still fill the width. */
const FEW = 4;

/** All charts of a view, in sections that fold; those that are pinned first. */
export function ChartGrid({ metrics, context, place, legend }: GridProps) {
  const { metrics: text, full } = chartView.value;
  const [folded, setFolded] = useKept("fold", place);
  const { error } = context.store;
  useEffect(listenOnCharts, []);
  if (!metrics.length) return <p class="empty">No metrics yet. They appear here with the first <code>run.log(…)</code>.</p>;
  const shown = metrics.filter(metricFilter(text).matches);
  if (!shown.length) return <p class="empty">No metric matches <code>{text}</code>.</p>;
  const pinned = [...context.pinned].filter((metric) => shown.includes(metric));
  const others = sections(shown.filter((metric) => !context.pinned.has(metric)));
  const all = pinned.length ? [{ name: PINNED, members: pinned }, ...others] : others;
  return (
    <div class={shown.length > FEW ? "grid many" : "grid"}>
      {error.value && (
        <p class="notice bad" role="alert">
          {error.value.message} <button onClick={() => context.store.refetch()}>Retry</button>
        </p>
      )}
      {(legend || context.grouping) && <Legend context={context} />}
      {all.map(({ name, members }) => (
        <section key={name} data-section={name}>
          {name && (
            <h2>
              <button class="fold" aria-expanded={!folded.has(name)} onClick={() => setFolded(toggled(folded, name))}>
                <span class="name">{name === PINNED ? "★ pinned" : name}</span> <span class="amount">{members.length}</span>
              </button>
            </h2>
          )}
          {!folded.has(name) && (
            <div class="charts">
              {members.map((metric) => <Chart key={metric} metric={metric} context={context} title={titleIn(name, metric)} />)}
            </div>
          )}
        </section>
      ))}
      {full && metrics.includes(full) && <FullScreen metric={full} context={context} />}
    </div>
  );
}

/** What the section's heading says already is left out. */
function titleIn(section: string, metric: string): string {
  return section && section !== PINNED ? metric.slice(section.length + 1) || metric : metric;
}

function FullScreen({ metric, context }: { metric: string; context: ChartContext }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const close = () => setQuery({ full: null });
  useEffect(() => dialog.current!.showModal(), []);
  return (
    <dialog class="full" ref={dialog} aria-label={metric} onClose={close}>
      <button class="close" onClick={close}>close</button>
      <Chart metric={metric} context={context} full />
      {(context.runs.size > 1 || context.grouping) && <Legend context={context} />}
    </dialog>
  );
}
