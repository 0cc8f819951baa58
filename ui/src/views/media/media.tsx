import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Run } from "../../api";
import { runColor } from "../../colors";
import { count } from "../../format";
import { Header } from "../../parts/header";
import { useLoaded } from "../../parts/loaded";
import { Copyable, Failure } from "../../parts/notice";
import type { Place } from "../../project";
import { link, route, setQuery } from "../../router";
import { Enlarged, ItemView, type Other } from "../run/media";
import type { MediaItem } from "../run/media.api";
import { type Hidden, MaskLegend, overlayNames } from "../run/media.picture";
import { stepOf, Steps } from "../run/media.steps";
import { knownFields } from "../runs/fields";
import { FilterBox, useFilter } from "../runs/filter";
import { ProjectModel } from "../runs/model";
import { keysOf, type RunMedia, type RunsKey } from "./media.api";
import "./media.css";
import { MediaGrid } from "./media.model";

/** Keys are those of so many of the newest runs. */
const KEYED = 200;
/** Runs that log pictures at every step must not make the page fetch at every step. */
const PAUSE_MS = 2000;
/** The name of the step in the address. */
const STEP = "at";
/** Kinds of tiles: what a row of the window holds. */
const SIZES = ["small", "medium", "large"];

const SNIPPET = ["import rundial as rd", "", 'run.log({"samples": rd.Image(array, caption="a sample")}, step=step)'].join("\n");

/** One key of media of all runs, in one grid, at the same step. */
export function ProjectMedia({ place }: { place: Place }) {
  const model = useMemo(() => new ProjectModel(place.workspace, place.project), []);
  useEffect(() => {
    document.title = `Media · ${place.project} · Rundial`;
    return () => model.close();
  }, []);
  const runs = model.runs.value;
  return (
    <>
      <Header place={place} stream={model.stream.value} />
      {model.error.value && <Failure error={model.error.value} retry={() => model.load()} />}
      {model.arrived.value.size > 0 && <button class="arrived" onClick={() => model.showArrived()}>{count(model.arrived.value.size, "new run")}</button>}
      {runs ? <Filtered model={model} runs={runs} /> : !model.error.value && <main class="page"><p class="muted">Loading runs …</p></main>}
    </>
  );
}

function Filtered({ model, runs }: { model: ProjectModel; runs: ReadonlyMap<string, Run> }) {
  const typing = useSignal(false);
  const text = route.value.query.get("q") ?? "";
  const members = model.members.value;
  const all = useMemo(() => [...runs.values()], [runs]);
  const known = useMemo(() => knownFields(all), [members]);
  const { filter, complaint, at } = useFilter(text, known, typing.value);
  const ids = all.filter((run) => run.archivedAtMs === null && filter.matches(run)).map((run) => run.runId).join();
  // Runs change many times a second: what is asked for changes when one comes, goes or begins to match.
  const listed = useMemo(() => (ids ? ids.split(",") : []), [ids]);
  const news = usePaused(model.media);
  const keys = useLoaded(() => (listed.length ? keysOf(listed.slice(0, KEYED)) : Promise.resolve([])), [ids, news]);
  const shown = keys.value?.filter(({ mediaType }) => mediaType !== "table");
  return (
    <main class="run gallery">
      <div class="controls">
        <FilterBox text={text} complaint={complaint} at={at} known={known} runs={all} typing={typing} onText={(q) => setQuery({ q })} />
        {shown && shown.length > 0 && <KeySelect keys={shown} chosen={keyOf(shown)!} />}
      </div>
      {keys.error && <Failure error={keys.error} retry={keys.load} />}
      {!shown ? !keys.error && <p class="empty">Loading media …</p>
        : shown.length ? <Grid keys={shown} listed={listed} runs={runs} news={news} />
        : text && listed.length < all.length ? <p class="empty">No run that matches <code>{text}</code> has media.</p>
        : <Empty />}
    </main>
  );
}

function Empty() {
  return (
    <div class="empty">
      <p>No run of this project has media. This logs a picture:</p>
      <Copyable text={SNIPPET} block />
    </div>
  );
}

/** How often the signal went up, at most once in a while. */
function usePaused(news: Signal<number>): number {
  const seen = useSignal(news.peek());
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    timer.current ||= window.setTimeout(() => {
      timer.current = 0;
      seen.value = news.peek();
    }, PAUSE_MS);
  }, [news.value]);
  return seen.value;
}

/** The key in the address, or the first with pictures. */
function keyOf(keys: readonly RunsKey[]): string | undefined {
  const asked = route.value.query.get("key");
  return (keys.find(({ key }) => key === asked) ?? keys.find(({ mediaType }) => mediaType === "image") ?? keys[0])?.key;
}

function KeySelect({ keys, chosen }: { keys: readonly RunsKey[]; chosen: string }) {
  return (
    <label>
      key
      <select value={chosen} onChange={(event) => setQuery({ key: event.currentTarget.value, [STEP]: null, nth: null }, true)}>
        {keys.map(({ key, mediaType, runs }) => <option key={`${mediaType} ${key}`} value={key}>{key} · {mediaType}, {count(runs, "run")}</option>)}
      </select>
    </label>
  );
}

interface GridProps {
  keys: readonly RunsKey[];
  /** Ids in the order of the runs' table. */
  listed: readonly string[];
  runs: ReadonlyMap<string, Run>;
  /** Changes when there may be more. */
  news: number;
}

function Grid({ keys, listed, runs, news }: GridProps) {
  const { query } = route.value;
  const grid = useMemo(() => new MediaGrid(), []);
  useEffect(() => () => grid.close(), []);
  const key = keyOf(keys)!;
  const step = stepOf(query, STEP);
  useEffect(() => grid.look({ runIds: listed, key, step }), [listed, key, step, news]);
  const hidden = useSignal<Hidden>(new Set());
  const opened = useSignal<string | null>(null);
  const { media, steps, fresh, done, error } = grid;
  const found = listed.flatMap((runId) => {
    const [run, of] = [runs.get(runId), media.value.get(runId)];
    return run && of ? [{ run, of }] : [];
  });
  const now = step ?? steps.value.at(-1);
  const rows = query.get("as") === "rows";
  const size = SIZES.find((one) => one === query.get("size")) ?? "medium";
  const most = Math.max(1, ...found.map(({ of }) => of.items.length));
  const nth = Math.max(1, Math.min(most, Number(query.get("nth")) || 1));
  const shownItems = found.flatMap(({ of }) => (rows ? of.items : [pick(of, nth)]));
  const names = overlayNames(shownItems);
  const toggle = (name: string) => {
    const next = new Set(hidden.value);
    if (!next.delete(name)) next.add(name);
    hidden.value = next;
  };
  return (
    <>
      <div class="controls">
        <Steps steps={steps.value} step={step} name={STEP} />
        {!rows && most > 1 && (
          <span class="steps">
            <button class="quiet" aria-label="Previous item" disabled={nth === 1} onClick={() => setQuery({ nth: nth > 2 ? String(nth - 1) : null })}>‹</button>
            {nth} of {most}
            <button class="quiet" aria-label="Next item" disabled={nth === most} onClick={() => setQuery({ nth: String(nth + 1) })}>›</button>
          </span>
        )}
        {names.map((name) => <label key={name}><input type="checkbox" checked={!hidden.value.has(name)} onChange={() => toggle(name)} />{name}</label>)}
        <MaskLegend items={shownItems} hidden={hidden.value} />
        <span class="space" />
        <span class="muted" aria-live="polite">{count(found.length, "run")}{!done.value && fresh.value && " so far"}</span>
        <label>
          as
          <select value={rows ? "rows" : "tiles"} onChange={(event) => setQuery({ as: event.currentTarget.value === "rows" ? "rows" : null }, true)}>
            <option value="tiles">tiles</option>
            <option value="rows">rows</option>
          </select>
        </label>
        <label>
          size
          <select value={size} onChange={(event) => setQuery({ size: event.currentTarget.value === "medium" ? null : event.currentTarget.value }, true)}>
            {SIZES.map((one) => <option key={one} value={one}>{one}</option>)}
          </select>
        </label>
      </div>
      {error.value && <Failure error={error.value} retry={() => grid.retry()} />}
      <div class={`${rows ? "of-runs" : "tiles"} ${size}`} aria-busy={!fresh.value}>
        {found.map(({ run, of }) => (
          <figure key={run.runId} data-run={run.runName} class={step !== null && of.step > step ? "later" : undefined}>
            <figcaption>
              <i class="swatch" style={{ background: runColor(run.runId) }} aria-hidden="true" />
              <a class="name" href={`${link("runs", run.runId)}?tab=media&key=${encodeURIComponent(key)}`} title={run.runName}>{run.runName}</a>
              {of.step !== now && <span class="muted">step {of.step.toLocaleString("en-US")}</span>}
            </figcaption>
            <div class="items">
              {(rows ? of.items : [pick(of, nth)]).map((item) => (
                <div key={item.index} class="item" style={{ maxWidth: widthOf(item) }}>
                  <ItemView item={item} hidden={hidden.value} open={() => (opened.value = item.url)} />
                  {item.caption && <p class="muted caption" title={item.caption}>{item.caption}</p>}
                </div>
              ))}
              {rows && of.count > of.items.length && <p class="muted">{(of.count - of.items.length).toLocaleString("en-US")} more</p>}
            </div>
          </figure>
        ))}
      </div>
      {!found.length && (done.value ? <p class="empty">None of these runs has <code>{key}</code>.</p> : !error.value && <p class="empty">Loading media …</p>)}
      {!done.value && !error.value && <More key={found.length} seen={() => grid.more()} />}
      <Opened found={found} url={opened} hidden={hidden.value} />
    </>
  );
}

/** A tall picture is not as wide as its tile: it would be several tiles high. */
function widthOf({ width, height }: MediaItem): string | undefined {
  const ratio = width && height ? width / height : 1;
  return ratio < 0.8 ? `calc(var(--tile) * ${(1.25 * ratio).toFixed(3)})` : undefined;
}

/** A run may have fewer at its step than others: then its last. */
function pick(of: RunMedia, nth: number): MediaItem {
  return of.items[Math.min(nth, of.items.length) - 1]!;
}

/** At the end of what was read: seen, it asks for more. */
function More({ seen }: { seen(): void }) {
  const end = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.at(-1)!.isIntersecting && seen(), { rootMargin: "600px" });
    observer.observe(end.current!);
    return () => observer.disconnect();
  }, []);
  return <p ref={end} class="empty">…</p>;
}

interface OpenedProps {
  found: readonly { run: Run; of: RunMedia }[];
  url: Signal<string | null>;
  hidden: Hidden;
}

/** One picture as large as the window, and that of any other run beside it. */
function Opened({ found, url, hidden }: OpenedProps) {
  const all = found.flatMap(({ run, of }) => of.items.map((item): Other & { run: Run } => ({ run, item, words: `${run.runName}, step ${of.step.toLocaleString("en-US")}` })));
  const one = all.find(({ item }) => item.url === url.value);
  if (!one) return null;
  const others = all.filter(({ run, item }) => run !== one.run && item.index === one.item.index && item.mediaType === one.item.mediaType);
  return <Enlarged item={one.item} others={others} hidden={hidden} title={one.run.runName} label="Beside the same picture of run" close={() => (url.value = null)} />;
}
