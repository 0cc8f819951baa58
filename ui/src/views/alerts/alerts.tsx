import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { get, type Page } from "../../api";
import { runColor } from "../../colors";
import { count, dateTime } from "../../format";
import { useAction } from "../../parts/ask";
import { Header } from "../../parts/header";
import { useLoaded } from "../../parts/loaded";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import { findProject, type Place } from "../../project";
import { link, route, setQuery } from "../../router";
import { LiveStream } from "../../stream";
import "./alerts.css";

interface Alert {
  runId: string;
  place: number;
  runName: string;
  timeMs: number;
  title: string;
  step: number | null;
  level: string;
  text: string;
}

interface Found {
  alerts: Alert[];
  page: Page;
}

const PAGE = 200;
/** However many alerts come, the page asks once in this time. */
const CALM_MS = 1000;
const SNIPPET = 'if loss > 10:\n    run.alert("loss is high", f"{loss} at step {step}", level="warn")';
const SHAPES: Record<string, string> = { info: "○", warn: "▲", warning: "▲", error: "✕" };

function alerts(projectId: string, cursor: string | null): Promise<Found> {
  const query = new URLSearchParams({ limit: String(PAGE), ...(cursor && { cursor }) });
  return get(`/api/v1/projects/${encodeURIComponent(projectId)}/alerts?${query}`);
}

/** What the runs of a project raised for people to look at. */
export function AlertsView({ place }: { place: Place }) {
  const project = useLoaded(() => findProject(place), [place.workspace, place.project]);
  useEffect(() => {
    document.title = `Alerts · ${place.project} · Rundial`;
  }, [place.project]);
  const id = project.value?.projectId;
  if (!id) {
    return (
      <>
        <Header place={place} />
        {project.error ? <Failure error={project.error} retry={project.load} /> : <main class="page"><p class="muted">Loading the alerts …</p></main>}
      </>
    );
  }
  return <Alerts key={id} place={place} projectId={id} />;
}

function Alerts({ place, projectId }: { place: Place; projectId: string }) {
  const first = useLoaded(() => alerts(projectId, null), [projectId]);
  const older = useSignal<Alert[]>([]);
  const cursor = useSignal<string | null>(null);
  const { error, busy, act } = useAction();
  const stream = useMemo(() => {
    let timer = 0;
    const again = () => {
      clearTimeout(timer);
      timer = window.setTimeout(first.load, CALM_MS);
    };
    return new LiveStream({ projectId }, { run: () => undefined, points: () => undefined, marker: (_, marker) => marker.kind === "alert" && again(), resync: again });
  }, [projectId]);
  useEffect(() => () => stream.close(), [stream]);
  useEffect(() => {
    // What came newly moved everything down; what was fetched before that is still in order behind it.
    if (older.value.length === 0) cursor.value = first.value?.page.nextCursor ?? null;
  }, [first.value]);
  const more = () => void act(async () => {
    const found = await alerts(projectId, cursor.value);
    older.value = [...older.value, ...found.alerts];
    cursor.value = found.page.nextCursor;
  });
  const newest = first.value?.alerts ?? [];
  const known = new Set(newest.map(({ runId, place }) => `${runId} ${place}`));
  const rows = [...newest, ...older.value.filter(({ runId, place }) => !known.has(`${runId} ${place}`))];
  const query = route.value.query;
  const level = query.get("level");
  const wanted = (query.get("q") ?? "").toLowerCase();
  const shown = rows.filter((alert) => (!level || alert.level === level) && `${alert.title} ${alert.text} ${alert.runName}`.toLowerCase().includes(wanted));
  const levels = [...new Set(rows.map((alert) => alert.level))].sort();
  const failure = first.error ?? error.value;
  return (
    <>
      <Header place={place} stream={stream} />
      {failure && <Failure error={failure} retry={first.load} />}
      <main class="alerts">
        <div class="controls">
          <b>{count(shown.length, "alert")}{cursor.value && " and more"}</b>
          {levels.length > 1 && (
            <label>
              level
              <select value={level ?? ""} onChange={(event) => setQuery({ level: event.currentTarget.value }, true)}>
                <option value="">all</option>
                {levels.map((name) => <option key={name} value={name}>{name}</option>)}
              </select>
            </label>
          )}
          <input
            type="search" class="filter" placeholder="find an alert  /" aria-label="Find an alert" data-filter value={query.get("q") ?? ""}
            onInput={(event) => setQuery({ q: event.currentTarget.value })}
          />
        </div>
        {!first.value && !first.error && <p class="empty">Loading the alerts …</p>}
        {first.value && !rows.length && (
          <div class="empty">
            <p>No run has raised an alert. A script raises one like this; it is marked on the charts, too:</p>
            <Copyable text={SNIPPET} block />
          </div>
        )}
        {rows.length > 0 && !shown.length && <p class="empty">No alert matches.</p>}
        {shown.length > 0 && (
          <table class="rows">
            <thead><tr><th>When</th><th>Level</th><th>Run</th><th class="figure">Step</th><th>What</th></tr></thead>
            <tbody>{shown.map((alert) => <Row key={`${alert.runId} ${alert.place}`} alert={alert} />)}</tbody>
          </table>
        )}
        {cursor.value && <button class="older" disabled={busy.value} onClick={more}>before that</button>}
      </main>
    </>
  );
}

function Row({ alert }: { alert: Alert }) {
  return (
    <tr>
      <td class="muted" title={dateTime(alert.timeMs)}><Ago timeMs={alert.timeMs} /></td>
      <td class={`level ${alert.level in SHAPES ? alert.level : "info"}`}>{SHAPES[alert.level] ?? "○"} {alert.level}</td>
      <td class="run-name"><i class="swatch" style={{ background: runColor(alert.runId) }} /> <a href={`${link("runs", alert.runId)}?tab=events`} title={alert.runName}>{alert.runName}</a></td>
      <td class="figure">{alert.step?.toLocaleString("en-US") ?? ""}</td>
      <td class="what"><b>{alert.title}</b> <span class="muted">{alert.text}</span></td>
    </tr>
  );
}
