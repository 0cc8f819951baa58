import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { RunDetail } from "../../api";
import { clock, count } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import type { MediaItem, MediaKey, MediaType } from "./media.api";
import "./media.css";
import { Content, Download, text } from "./media.file";
import { HistogramView } from "./media.histogram";
import { itemsAt, MediaModel, stepsOf } from "./media.model";
import { type Hidden, MaskLegend, overlayNames, Picture } from "./media.picture";
import { PlotlyView } from "./media.plotly";
import { SceneView } from "./media.points";
import { stepOf, Steps } from "./media.steps";
import type { RunModel } from "./model";

/** The name of the step in the address. */
const STEP = "at";
/** Items of one key that are shown before one asks for more. */
const FIRST = 24;
/** Kinds that take the whole width. */
const WIDE: MediaType[] = ["text", "html"];

/** Keeps the media of a run up to date while one looks. */
export function useMedia(run: RunDetail, model: RunModel): MediaModel {
  const media = useMemo(() => new MediaModel(run.runId), [run.runId]);
  const more = model.more.value["media"] ?? 0;
  useEffect(() => void media.load(), [media, more]);
  useEffect(() => () => media.close(), [media]);
  return media;
}

/** Pictures, sounds and all else that belongs to a step, by key. */
export function Media({ run, model }: { run: RunDetail; model: RunModel }) {
  const media = useMedia(run, model);
  const keys = media.keys.value;
  const query = route.value.query;
  const step = stepOf(query, STEP);
  const filter = (query.get("key") ?? "").toLowerCase();
  const shown = (keys ?? []).filter(({ key, mediaType }) => mediaType !== "table" && key.toLowerCase().includes(filter));
  const names = [...new Set(shown.map(({ key }) => key))];
  const tables = (keys ?? []).filter(({ mediaType }) => mediaType === "table").length;
  const steps = stepsOf(names.flatMap((key) => media.items.value.get(key) ?? []));
  return (
    <div class="media">
      <div class="controls">
        <Steps steps={steps} step={step} name={STEP} />
        {tables > 0 && <button onClick={() => setQuery({ tab: "tables" }, true)}>{count(tables, "table")}</button>}
        <input
          type="search" class="filter" placeholder="filter keys  /" aria-label="Filter keys" data-filter
          value={query.get("key") ?? ""} onInput={(event) => setQuery({ key: event.currentTarget.value })}
        />
      </div>
      {media.error.value && <Failure error={media.error.value} retry={() => void media.load()} />}
      {keys && !keys.length && <Empty />}
      {shown.map((known) => <Key key={`${known.mediaType} ${known.key}`} known={known} media={media} step={step} />)}
    </div>
  );
}

function Empty() {
  const snippet = ["import rundial as rd", "", 'run.log({"samples": rd.Image(array, caption="a sample")}, step=step)'].join("\n");
  return (
    <div class="empty">
      <p>No media yet. This logs a picture:</p>
      <Copyable text={snippet} block />
    </div>
  );
}

function Key({ known, media, step }: { known: MediaKey; media: MediaModel; step: number | null }) {
  const { key, mediaType } = known;
  useEffect(() => media.want(key), [media, key]);
  const hidden = useSignal<Hidden>(new Set());
  const most = useSignal(FIRST);
  const opened = useSignal<MediaItem | null>(null);
  const all = (media.items.value.get(key) ?? []).filter((item) => item.mediaType === mediaType);
  const items = itemsAt(all, step);
  const names = overlayNames(items);
  const toggle = (name: string) => {
    const next = new Set(hidden.value);
    if (!next.delete(name)) next.add(name);
    hidden.value = next;
  };
  return (
    <section class={`media-key ${items.length > 1 || WIDE.includes(mediaType) ? "wide" : ""}`} data-key={key} data-kind={mediaType}>
      <h2>
        <span class="name" title={key}>{key}</span>
        <span class="muted">
          {mediaType}{items[0] && <> · step <output>{(items[0].step ?? 0).toLocaleString("en-US")}</output> · {clock(items[0].timeMs)}</>}
          {" · "}{count(known.count, "item")}
        </span>
        {names.map((name) => (
          <label><input type="checkbox" checked={!hidden.value.has(name)} onChange={() => toggle(name)} />{name}</label>
        ))}
        <MaskLegend items={items} hidden={hidden.value} />
      </h2>
      <div class={`items ${mediaType}`}>
        {items.slice(0, most.value).map((item) => (
          <figure key={`${item.index}`}>
            <ItemView item={item} hidden={hidden.value} open={() => (opened.value = item)} />
            {item.caption && <figcaption title={item.caption}>{item.caption}</figcaption>}
          </figure>
        ))}
      </div>
      {items.length > most.value && <button onClick={() => (most.value += 4 * FIRST)}>{count(items.length - most.value, "item")} more</button>}
      {opened.value && <Enlarged item={opened.value} others={otherSteps(opened.value, all)} hidden={hidden.value} close={() => (opened.value = null)} />}
    </section>
  );
}

/** The same picture at the other steps. */
function otherSteps(item: MediaItem, all: readonly MediaItem[]): Other[] {
  const others = all.filter((one) => one.index === item.index && one.step !== item.step);
  return others.map((one) => ({ words: `step ${(one.step ?? 0).toLocaleString("en-US")}`, item: one }));
}

/** One item as what it is. */
export function ItemView({ item, hidden, open }: { item: MediaItem; hidden: Hidden; open: () => void }) {
  switch (item.mediaType) {
    case "image":
      return <Picture item={item} hidden={hidden} onOpen={open} />;
    case "video":
      // A video made of frames is a moving picture.
      if (item.contentType.startsWith("image/")) return <Picture item={item} hidden={hidden} onOpen={open} />;
      return <video src={item.url} controls preload="metadata" loop playsInline aria-label={item.caption ?? item.key} />;
    case "audio":
      return <Sound item={item} />;
    case "histogram":
      return <HistogramView item={item} />;
    case "html":
      return <iframe src={item.url} sandbox="" loading="lazy" title={item.caption ?? `${item.key}, step ${item.step}`} />;
    case "plotly":
      return <PlotlyView item={item} />;
    case "object3d":
      return <SceneView item={item} />;
    case "text":
      return <Content<string> item={item} load={text}>{(words) => <pre class="words">{words}</pre>}</Content>;
    default:
      return <Download item={item} />;
  }
}

function Sound({ item }: { item: MediaItem }) {
  const { seconds, sampleRate } = item.metadata;
  return (
    <>
      <audio src={item.url} controls preload="none" aria-label={item.caption ?? item.key} />
      <p class="muted">
        {typeof seconds === "number" && <>{Number(seconds.toPrecision(3))} s </>}
        {typeof sampleRate === "number" && <>{sampleRate.toLocaleString("en-US")} Hz </>}
        <Download item={item} />
      </p>
    </>
  );
}

/** A picture that another may be looked at beside. */
export interface Other {
  words: string;
  item: MediaItem;
}

interface EnlargedProps {
  item: MediaItem;
  others: readonly Other[];
  hidden: Hidden;
  /** Of which run it is, where several are looked at. */
  title?: string;
  /** What the others are. */
  label?: string;
  close(): void;
}

/** One picture as large as it is, or as the window; with another under it, which a slider uncovers. */
export function Enlarged({ item, others, hidden, title, label = "Beside the same picture at step", close }: EnlargedProps) {
  const other = useSignal<MediaItem | null>(null);
  const edge = useSignal(50);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const { scaledFrom, nonFinite } = item.metadata;
  return (
    <dialog class="enlarged" ref={dialog} onClose={close} onClick={(event) => event.target === event.currentTarget && event.currentTarget.close()}>
      <div class="swipe">
        <Picture item={item} hidden={hidden} />
        {other.value && <div class="over" style={{ clipPath: `inset(0 0 0 ${edge.value}%)` }}><Picture item={other.value} hidden={hidden} /></div>}
        {other.value && <i class="edge" style={{ left: `${edge.value}%` }} />}
      </div>
      {others.length > 0 && (
        <p class="against">
          <label>
            beside
            <select
              aria-label={label} value={other.value?.url ?? ""}
              onChange={(event) => (other.value = others.find((one) => one.item.url === event.currentTarget.value)?.item ?? null)}
            >
              <option value="">nothing</option>
              {others.map((one) => <option key={one.item.url} value={one.item.url}>{one.words}</option>)}
            </select>
          </label>
          {other.value && (
            <input
              type="range" min="0" max="100" value={edge.value} aria-label="Where one picture ends and the other begins"
              onInput={(event) => (edge.value = Number(event.currentTarget.value))}
            />
          )}
        </p>
      )}
      <p>
        <b>{title ?? item.caption ?? item.key}</b>{" "}
        <span class="muted">
          step {item.step} · {item.width} × {item.height}
          {Array.isArray(scaledFrom) && <> · scaled from {scaledFrom.map((value) => Number(Number(value).toPrecision(4))).join(" to ")}</>}
          {typeof nonFinite === "number" && <> · <span class="bad">{nonFinite.toLocaleString("en-US")} not finite</span></>}
        </span>{" "}
        <Download item={item} /> <button onClick={() => dialog.current?.close()}>close</button>
      </p>
    </dialog>
  );
}
