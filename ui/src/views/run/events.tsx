import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { clock, count, dateTime, duration } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import "./events.css";
import { CommandList, type Happening, happenings } from "./events.model";
import type { RunModel } from "./model";

const PAGE = 500;

/** The tab: markers, alerts, commands, and when each attempt began and ended, newest first. */
export function Events({ run, model }: { run: RunDetail; model: RunModel }) {
  const turned = useMemo(() => new CommandList(run.runId), [run.runId]);
  useEffect(() => () => turned.close(), [turned]);
  const more = model.more.value.dials ?? 0;
  useEffect(() => void turned.load(), [turned, more]);
  const all = useMemo(() => happenings(run, model.markers.value, turned.rows.value), [run, model.markers.value, turned.rows.value]);
  const query = route.value.query;
  const without = new Set((query.get("hide") ?? "").split(",").filter(Boolean));
  const wanted = (query.get("q") ?? "").toLowerCase();
  const most = Math.max(PAGE, Number(query.get("most")) || 0);
  const kinds = [...new Set(all.map(({ kind }) => kind))].sort();
  const shown = all.filter(({ kind, words, more }) => !without.has(kind) && `${words} ${more}`.toLowerCase().includes(wanted));
  const toggle = (kind: string) => {
    if (!without.delete(kind)) without.add(kind);
    setQuery({ hide: [...without].join(",") || null }, true);
  };
  return (
    <div class="happenings">
      <div class="controls">
        {kinds.map((kind) => (
          <label key={kind}>
            <input type="checkbox" checked={!without.has(kind)} onChange={() => toggle(kind)} />
            {kind.replaceAll("_", " ")} <span>{all.filter((one) => one.kind === kind).length.toLocaleString("en-US")}</span>
          </label>
        ))}
        <input
          type="search" class="filter" placeholder="find an event  /" aria-label="Find an event" data-filter value={query.get("q") ?? ""}
          onInput={(event) => setQuery({ q: event.currentTarget.value })}
        />
      </div>
      {turned.error.value && <Failure error={turned.error.value} retry={() => void turned.load()} />}
      {shown.length === 0 && <p class="empty">{all.length ? "No event matches." : "Nothing has happened yet."}</p>}
      <table class="rows">
        <thead class="hidden-text"><tr><th>Time</th><th>Since the start</th><th>Kind</th><th>Step</th><th>What</th></tr></thead>
        <tbody>{shown.slice(0, most).map((one, place) => <Row key={`${one.timeMs} ${one.kind} ${one.words} ${place}`} one={one} startMs={run.startedAtMs} />)}</tbody>
      </table>
      {shown.length > most && <button class="older" onClick={() => setQuery({ most: String(most + PAGE) })}>{count(shown.length - most, "event")} before</button>}
      {all.length <= 2 && (
        <div class="empty">
          <p>A run can say more of itself:</p>
          <Copyable text={'run.alert("loss is high", level="warn")\nrun.event("unfroze the backbone", step=step)'} block />
        </div>
      )}
    </div>
  );
}

function Row({ one, startMs }: { one: Happening; startMs: number }) {
  return (
    <tr class={one.bad ? "bad" : ""}>
      <td class="muted"><time title={dateTime(one.timeMs)}>{clock(one.timeMs)}</time></td>
      <td class="figure muted">+{duration(one.timeMs - startMs)}</td>
      <td class="kind">{one.kind.replaceAll("_", " ")}</td>
      <td class="figure">{one.step?.toLocaleString("en-US") ?? ""}</td>
      <td class="what">{one.words} {one.more && <span class="muted">{one.more}</span>}</td>
    </tr>
  );
}
