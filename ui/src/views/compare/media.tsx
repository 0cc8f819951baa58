import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { Failure } from "../../parts/notice";
import { link, route } from "../../router";
import type { MediaItem } from "../run/media.api";
import { itemsAt, MediaModel, stepsOf } from "../run/media.model";
import { stepOf, Steps } from "../run/media.steps";
import { RunHead } from "./differences";

/** The name of the step in the address. */
const STEP = "at";
/** Items of one run and key that stand in a cell. */
const MOST = 4;

/** The same key of every run in one row, at the same step. */
export function MediaBeside({ runs }: { runs: readonly RunDetail[] }) {
  const ids = runs.map((run) => run.runId).join();
  const models = useMemo(() => runs.map((run) => new MediaModel(run.runId)), [ids]);
  useEffect(() => {
    for (const model of models) void model.load();
    return () => models.forEach((model) => model.close());
  }, [models]);
  const keys = [...new Set(models.flatMap((model) => (model.keys.value ?? []).filter(({ mediaType }) => mediaType !== "table").map(({ key }) => key)))];
  useEffect(() => {
    for (const model of models) for (const key of keys) if (model.keys.value?.some((known) => known.key === key)) model.want(key);
    // A run whose keys come later than those of another may add none, and must be asked for its items all the same.
  }, [keys.join("\n"), models.filter((model) => model.keys.value).length, models]);
  const step = stepOf(route.value.query, STEP);
  const steps = stepsOf(models.flatMap((model) => keys.flatMap((key) => model.items.value.get(key) ?? [])));
  const failed = models.find((model) => model.error.value);
  if (failed) return <Failure error={failed.error.value!} retry={() => models.forEach((model) => void model.load())} />;
  if (models.some((model) => model.keys.value === null)) return <p class="empty">Loading media …</p>;
  if (!keys.length) return <p class="empty">None of these runs has media.</p>;
  return (
    <>
      <div class="controls"><Steps steps={steps} step={step} name={STEP} /></div>
      <div class="beside pictures" tabIndex={0} role="region" aria-label="Media">
        <table class="rows">
          <thead>
            <tr>
              <th class="what"><span class="hidden-text">Key</span></th>
              {runs.map((run) => <RunHead key={run.runId} run={run} runs={runs} />)}
            </tr>
          </thead>
          <tbody>
            {keys.map((key) => (
              <tr key={key}>
                <th scope="row" class="code" title={key}>{key}</th>
                {models.map((model) => <Cell key={model.runId} model={model} name={key} step={step} />)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Cell({ model, name, step }: { model: MediaModel; name: string; step: number | null }) {
  const items = itemsAt(model.items.value.get(name) ?? [], step);
  return (
    <td>
      {items.length === 0 && <span class="muted">–</span>}
      {items.slice(0, MOST).map((item) => <Item key={item.url} item={item} runId={model.runId} />)}
      {items.length > MOST && <span class="muted">{items.length - MOST} more</span>}
    </td>
  );
}

function Item({ item, runId }: { item: MediaItem; runId: string }) {
  const words = item.caption ?? item.key;
  return (
    <figure>
      {item.mediaType === "image" ? <img src={item.url} alt={words} loading="lazy" width={item.width ?? undefined} height={item.height ?? undefined} />
        : item.mediaType === "video" ? <video src={item.url} controls preload="metadata" aria-label={words} />
        : item.mediaType === "audio" ? <audio src={item.url} controls preload="none" aria-label={words} />
        : <a class="act" href={`${link("runs", runId)}?tab=media&key=${encodeURIComponent(item.key)}`}>{item.mediaType}</a>}
      <figcaption class="muted">step {(item.step ?? 0).toLocaleString("en-US")}{item.caption && ` · ${item.caption}`}</figcaption>
    </figure>
  );
}
