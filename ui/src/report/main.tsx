// The page that `rundial export --html` writes: everything it shows stands in it, and it asks nobody for anything.
import { useSignal } from "@preact/signals";
import { render } from "preact";
import { useMemo } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "../styles.css";
import "../chart/chart.css";
import "./report.css";
import { placeColor } from "../colors";
import { count, dateTime, duration, number, plain } from "../format";
import { type DiffSection, sectionsOf } from "../views/compare/diff";
import { Charts } from "./charts";
import { type Picture, readReport, type Report, type Rows } from "./data";

function Page({ report }: { report: Report }) {
  const { runs, exportedAtMs, leftOut } = report;
  return (
    <main class="report run">
      <h1>{runs.length === 1 ? runs[0]!.runName : count(runs.length, "run")}</h1>
      <p class="muted">as of {dateTime(exportedAtMs)}, written by Rundial</p>
      <Runs report={report} />
      <Charts report={report} />
      <Differences report={report} />
      <Pictures report={report} />
      <Tables report={report} />
      {Object.keys(leftOut).length > 0 && (
        <section aria-label="Left out">
          <h2>Not on this page</h2>
          <ul>{Object.entries(leftOut).map(([what, number]) => <li key={what}>{number.toLocaleString("en-US")} {what}</li>)}</ul>
        </section>
      )}
    </main>
  );
}

function Runs({ report: { runs } }: { report: Report }) {
  return (
    <section aria-label="Runs">
      <div class="wide">
        <table class="rows">
          <thead><tr><th>run</th><th>project</th><th>status</th><th>started</th><th>time</th><th>tags</th><th>notes</th></tr></thead>
          <tbody>
            {runs.map((run, place) => (
              <tr key={run.runId}>
                <td><i class="swatch" style={{ background: placeColor(place) }} />{run.runName}</td>
                <td>{run.projectSlug}</td>
                <td title={run.reason ?? ""}>{run.status}</td>
                <td>{dateTime(run.startedAtMs)}</td>
                <td>{duration((run.finishedAtMs ?? run.updatedAtMs) - run.startedAtMs)}</td>
                <td>{run.tags.join(", ")}</td>
                <td class="notes">{run.notes}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Differences({ report: { runs } }: { report: Report }) {
  const found = useMemo(() => sectionsOf(runs), []);
  const all = useSignal(runs.length === 1);
  return (
    <section aria-label="Differences">
      <h2>{runs.length === 1 ? "Configuration and results" : "Differences"}</h2>
      {runs.length > 1 && (
        <label class="same">
          <input type="checkbox" checked={all.value} onChange={(event) => (all.value = event.currentTarget.checked)} /> what is the same, too
        </label>
      )}
      <div class="wide">
        <table class="rows diff">
          <thead><tr><th /> {runs.map((run) => <th key={run.runId} scope="col">{run.runName}</th>)}</tr></thead>
          {found.map((section) => <Section key={section.title} section={section} all={all.value} runs={runs.length} />)}
        </table>
      </div>
    </section>
  );
}

function Section({ section: { title, rows }, all, runs }: { section: DiffSection; all: boolean; runs: number }) {
  const shown = rows.filter((row) => all || row.differs);
  return (
    <tbody data-section={title}>
      <tr class="section"><th scope="rowgroup">{title}</th><td colSpan={runs} class="muted">{shown.length === 0 && "no difference"}</td></tr>
      {shown.map(({ name, values, differs }) => (
        <tr key={name} data-name={name}>
          <th scope="row">{name}</th>
          {values.map((value, place) => <td key={place} class={differs && all && runs > 1 ? "differs" : ""}>{value === undefined ? "" : title === "Summary" ? rounded(value) : plain(value)}</td>)}
        </tr>
      ))}
    </tbody>
  );
}

/** What was measured; what was set is shown as it is. */
function rounded(value: unknown): string {
  return typeof value === "number" ? number(value) : plain(value);
}

function Pictures({ report: { pictures, runs } }: { report: Report }) {
  if (!pictures.length) return null;
  return (
    <section aria-label="Images">
      <h2>Images</h2>
      {byKey(pictures).map(([key, items]) => (
        <section key={key} aria-label={key}>
          <h3>{key}</h3>
          <div class="pictures">
            {items.map((item) => (
              <figure key={`${item.run} ${item.step} ${item.source.length}`}>
                <img src={item.source} alt={item.caption ?? `${key} at step ${item.step}`} class={(item.width ?? 0) < 128 ? "small" : ""} loading="lazy" />
                <figcaption><Origin item={item} runs={runs} /></figcaption>
              </figure>
            ))}
          </div>
        </section>
      ))}
    </section>
  );
}

function Tables({ report: { tables, runs } }: { report: Report }) {
  if (!tables.length) return null;
  return (
    <section aria-label="Tables">
      <h2>Tables</h2>
      {tables.map((table, place) => (
        <section key={place} aria-label={table.key}>
          <h3>{table.key}</h3>
          <p><Origin item={table} runs={runs} /> <span class="muted">{count(table.count, "row")}{table.count > table.rows.length && `, the first ${table.rows.length} here`}</span></p>
          <div class="wide tall" tabIndex={0}>
            <table class="rows">
              <thead><tr>{table.columns.map((name, at) => <th key={at}>{plain(name)}</th>)}</tr></thead>
              <tbody>{table.rows.map((row, at) => <tr key={at}>{row.map((cell, column) => <td key={column}>{cell === null ? "" : rounded(cell)}</td>)}</tr>)}</tbody>
            </table>
          </div>
        </section>
      ))}
    </section>
  );
}

function Origin({ item, runs }: { item: Picture | Rows; runs: Report["runs"] }) {
  return (
    <>
      <i class="swatch" style={{ background: placeColor(item.run) }} />
      <span class="muted">{runs[item.run]!.runName}, step {item.step}</span>
      {item.caption && <span> {item.caption}</span>}
    </>
  );
}

function byKey(items: readonly Picture[]): [string, Picture[]][] {
  const found = new Map<string, Picture[]>();
  for (const item of items) found.set(item.key, [...(found.get(item.key) ?? []), item]);
  return [...found];
}

render(<Page report={readReport()} />, document.getElementById("app")!);
