import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Run } from "../../api";
import { useHover } from "../../chart/hover";
import { ChartPanel } from "../../chart/panel";
import { count } from "../../format";
import { Header } from "../../parts/header";
import { useIcon } from "../../parts/icon";
import { Failure } from "../../parts/notice";
import { QuickStart } from "../../parts/quickstart";
import { route, setQuery } from "../../router";
import { BulkBar, compareLink, NoticeBar } from "./bulk";
import { defaultColumns, type Layout, listText, parseList, parseSort, sorted, sortText, WIDE_NAME } from "./columns";
import { FACT_NAMES, fieldWords, type Known, knownFields } from "./fields";
import { FilterBox, useFilter } from "./filter";
import { groupedRows } from "./groups";
import { useTableKeys } from "./keys";
import { ProjectModel } from "./model";
import { ColumnPicker } from "./picker";
import { recall, remember } from "./remember";
import { SavedViews } from "./saved";
import { RunsTable } from "./table";

const SHOWN_AT_FIRST = 10;
const GROUP_FACTS = ["status", "group", "job", "path", "tags", "kind"];

interface Place {
  workspace: string;
  project: string;
}

export function ProjectView({ workspace, project }: Place) {
  const model = useMemo(() => new ProjectModel(workspace, project), []);
  useEffect(() => {
    document.title = `${project} · Rundial`;
    return () => model.close();
  }, []);
  const runs = model.runs.value;
  useIcon(useMemo(() => ([...(runs?.values() ?? [])].some((run) => run.status === "running") ? "running" : undefined), [runs]));
  return (
    <>
      <Header place={{ workspace, project }} stream={model.stream.value} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {runs ? (
        runs.size ? <Filled model={model} runs={runs} place={{ workspace, project }} /> : (
          <main class="page"><NoticeBar model={model} /><QuickStart workspace={workspace} project={project} /></main>
        )
      ) : (
        !model.error.value && <main class="page"><p class="muted">Loading runs …</p></main>
      )}
    </>
  );
}

function Filled({ model, runs, place }: { model: ProjectModel; runs: ReadonlyMap<string, Run>; place: Place }) {
  const hover = useHover();
  const cursor = useSignal<string | null>(null);
  const typing = useSignal(false);
  const selection = useSignal<ReadonlySet<string>>(new Set());
  const { query } = route.value;
  const text = query.get("q") ?? "";
  const sort = query.get("sort");
  const by = query.get("by");
  const folded = query.get("shut");
  const archive = query.get("archived") === "1";
  const members = model.members.value;
  const all = useMemo(() => [...runs.values()], [runs]);
  const known = useMemo(() => knownFields(all), [members, model.metrics.value.length]);
  const { filter, complaint, at } = useFilter(text, known, typing.value);
  // The order is made when someone asks for one, not whenever a value changes: rows must not move by themselves.
  const order = useMemo(() => sorted(all, parseSort(sort)).map((run) => run.runId), [members, sort]);
  const listed = useMemo(
    () => order.flatMap((runId) => runs.get(runId) ?? []).filter((run) => (archive || run.archivedAtMs === null) && filter.matches(run)),
    [order, runs, filter, archive],
  );
  const rows = useMemo(() => groupedRows(listed, by, new Set(parseList(folded))), [listed, by, folded]);
  const { columns, layout, setColumns, setWidth } = useLayout(place, all, `${members} ${model.metrics.value.length}`, query.get("cols"), query.get("charts") === "0");
  const visible = useVisible(runs);
  const selected = selection.value;
  const chosen = useMemo(() => listed.filter((run) => selected.has(run.runId)), [listed, selected]);

  const shown = useMemo(() => listed.filter((run) => visible.has(run.runId)), [listed, visible]);

  const onShow = (runIds: readonly string[], show: boolean) => showRuns(changed(visible, runIds, show));
  const onSelect = (runIds: readonly string[], select: boolean) => (selection.value = changed(selected, runIds, select));
  const onOnly = () => showRuns(new Set(chosen.map((run) => run.runId)));
  const onSort = (column: string) => {
    const present = parseSort(sort);
    const again = present?.column === column;
    if (again && !present.descending) setQuery({ sort: null }, true);
    else setQuery({ sort: sortText({ column, descending: !again }) }, true);
  };
  const onFold = (key: string) => setQuery({ shut: listText([...changed(new Set(parseList(folded)), [key], !parseList(folded)?.includes(key))]) });
  const onCompare = () => (location.hash = compareLink(place, chosen.map((run) => run.runId)));
  useTableKeys({ rows, cursor, selected, visible, onSelect, onShow, onOnly, onCompare });

  const charts = query.get("charts") !== "0";
  return (
    <main class={charts ? "split" : "split whole"}>
      <div class="list">
        <div class="controls">
          <FilterBox text={text} complaint={complaint} at={at} known={known} runs={all} typing={typing} onText={(q) => setQuery({ q })} />
          <button aria-pressed={!charts} title="The table alone, or with charts" onClick={() => setQuery({ charts: charts ? "0" : null }, true)}>table only</button>
        </div>
        <div class="controls">
          <b>{listed.length === all.length ? count(all.length, "run") : `${listed.length.toLocaleString("en-US")} of ${count(all.length, "run")}`}</b>
          <span class="muted">{shown.length} shown</span>
          <button onClick={() => showRuns(new Set(listed.map((run) => run.runId)))}>all</button>
          <button onClick={() => showRuns(new Set())}>none</button>
          <span class="space" />
          <GroupSelect by={by} known={known} />
          <ColumnPicker columns={columns} known={known} runs={chosen.length > 1 ? chosen : all} onColumns={setColumns} />
          <SavedViews place={`${place.workspace}/${place.project}`} />
          {(archive || all.some((run) => run.archivedAtMs !== null)) && (
            <button aria-pressed={archive} onClick={() => setQuery({ archived: archive ? null : "1" }, true)}>archived</button>
          )}
        </div>
        <BulkBar model={model} chosen={chosen} place={place} onOnly={onOnly} onClear={() => (selection.value = new Set())} />
        <NoticeBar model={model} />
        <Arrived model={model} />
        <RunsTable
          {...{ model, rows, columns, layout, visible, selected, cursor, onSort, onShow, onSelect, onFold }}
          runs={listed} sort={parseSort(sort)} hovered={hover.now} onWidth={setWidth}
          listing={`${text}\n${sort}\n${by}\n${archive}`}
        >
          {!listed.length && <p class="empty">{text ? <>No run matches <code>{text}</code>.</> : "All runs are in the archive."}</p>}
          {model.nextCursor.value && (
            <p class="empty">
              The newest {runs.size.toLocaleString("en-US")} runs. <button onClick={() => model.loadMore()}>Load more</button>
            </p>
          )}
        </RunsTable>
      </div>
      {charts && (shown.length ? (
        <ChartPanel store={model.store} metrics={model.metrics.value} runs={shown} hover={hover} filterKey={false} />
      ) : (
        <div class="panel"><p class="empty">No run is shown. The dots in the table show and hide runs.</p></div>
      ))}
    </main>
  );
}

function changed(set: ReadonlySet<string>, names: readonly string[], present: boolean): ReadonlySet<string> {
  const next = new Set(set);
  for (const name of names) present ? next.add(name) : next.delete(name);
  return next;
}

function showRuns(visible: ReadonlySet<string>): void {
  setQuery({ runs: [...visible].join(",") || "none" });
}

function GroupSelect({ by, known }: { by: string | null; known: Known }) {
  const config = by && !GROUP_FACTS.includes(by) && !known.config.includes(by) ? [by, ...known.config] : known.config;
  return (
    <label class="group-by">
      group
      <select aria-label="Group by" value={by ?? ""} onChange={(event) => setQuery({ by: event.currentTarget.value, shut: null }, true)}>
        <option value="">none</option>
        {GROUP_FACTS.map((name) => <option key={name} value={name}>{fieldWords(name).toLowerCase()}</option>)}
        {config.length > 0 && <optgroup label="Config">{config.map((name) => <option key={name} value={name}>{fieldWords(name)}</option>)}</optgroup>}
        {known.summary.length > 0 && <optgroup label="Summary">{known.summary.map((name) => <option key={name} value={name}>{fieldWords(name)}</option>)}</optgroup>}
        <optgroup label="Run">{FACT_NAMES.filter((name) => !GROUP_FACTS.includes(name)).map((name) => <option key={name} value={name}>{fieldWords(name).toLowerCase()}</option>)}</optgroup>
      </select>
    </label>
  );
}

/** The table's columns: those in the address, or what this browser remembers, or the usual ones. */
function useLayout({ workspace, project }: Place, runs: readonly Run[], version: string, text: string | null, whole: boolean) {
  const key = `table.${workspace}/${project}`;
  const layout = useSignal<Layout>(recall<Layout>(key) ?? { columns: null, widths: {} });
  const usual = useMemo(() => defaultColumns(runs, whole), [version, whole]);
  const keep = (next: Layout) => {
    layout.value = next;
    remember(key, next);
  };
  const setColumns = (columns: readonly string[] | null) => {
    keep({ ...layout.value, columns: columns && [...columns] });
    setQuery({ cols: columns && listText(columns) }, true);
  };
  const setWidth = (column: string, width: number | null) => {
    const { [column]: _, ...widths } = layout.value.widths;
    keep({ ...layout.value, widths: width === null ? widths : { ...widths, [column]: width } });
  };
  const { columns, widths } = layout.value;
  const shown = useMemo(() => ({ columns, widths: whole && innerWidth > 800 ? { name: WIDE_NAME, ...widths } : widths }), [columns, widths, whole]);
  return { columns: parseList(text) ?? columns ?? usual, layout: shown, setColumns, setWidth };
}

/** Which runs the charts show: those the address names, or the first ten. */
function useVisible(runs: ReadonlyMap<string, Run>): ReadonlySet<string> {
  const chosen = useComputed(() => route.value.query.get("runs")).value;
  const ids = [...runs.keys()].slice(0, SHOWN_AT_FIRST).join();
  return useMemo(() => new Set(chosen === null ? ids.split(",") : chosen.split(",")), [chosen, ids]);
}

function Arrived({ model }: { model: ProjectModel }) {
  const waiting = model.arrived.value.size;
  if (!waiting) return null;
  return <button class="arrived" onClick={() => model.showArrived()}>{count(waiting, "new run")}</button>;
}
