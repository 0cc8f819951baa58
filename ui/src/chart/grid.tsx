import { route, setQuery } from "../router";
import { Chart, type ChartContext } from "./chart";
import { chartView, metricFilter, sections } from "./view";

/** All charts of a view, in sections that fold. */
export function ChartGrid({ metrics, context }: { metrics: string[]; context: ChartContext }) {
  const text = chartView.value.metrics;
  const shown = metrics.filter(metricFilter(text).matches);
  const folded = new Set((route.value.query.get("fold") ?? "").split(",").filter(Boolean).map(decodeURIComponent));
  const { error } = context.store;
  const fold = (name: string) => {
    if (!folded.delete(name)) folded.add(name);
    setQuery({ fold: [...folded].map(encodeURIComponent).join(",") });
  };
  if (!metrics.length) return <p class="empty">No metrics yet. They appear here with the first <code>run.log(…)</code>.</p>;
  if (!shown.length) return <p class="empty">No metric matches <code>{text}</code>.</p>;
  return (
    <div class="grid">
      {error.value && (
        <p class="notice bad" role="alert">
          {error.value.message} <button onClick={() => context.store.refetch()}>Retry</button>
        </p>
      )}
      {sections(shown).map(({ name, members }) => (
        <section key={name}>
          {name && (
            <h2>
              <button class="fold" aria-expanded={!folded.has(name)} onClick={() => fold(name)}>
                <span class="name">{name}</span> <span class="amount">{members.length}</span>
              </button>
            </h2>
          )}
          {!folded.has(name) && (
            <div class="charts">
              {members.map((metric) => <Chart key={metric} metric={metric} context={context} />)}
            </div>
          )}
        </section>
      ))}
    </div>
  );
}
