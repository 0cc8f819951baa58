import { useEffect } from "preact/hooks";
import type { Run } from "../../api";
import { count } from "../../format";
import { link } from "../../router";
import { csv, download, json } from "./export";
import { Menu } from "./menu";
import type { ProjectModel } from "./model";
import { tagsOf } from "./edit";

const NOTICE_MS = 15_000;

interface BulkProps {
  model: ProjectModel;
  chosen: readonly Run[];
  place: { workspace: string; project: string };
  onOnly(): void;
  onClear(): void;
}

/** The address under which runs are compared. */
export function compareLink({ workspace, project }: BulkProps["place"], runIds: readonly string[]): string {
  return `${link("p", workspace, project, "compare")}?runs=${runIds.map(encodeURIComponent).join(",")}`;
}

/** What can be done with the selected runs. */
export function BulkBar({ model, chosen, place, onOnly, onClear }: BulkProps) {
  if (!chosen.length) return null;
  const archived = chosen.every((run) => run.archivedAtMs !== null);
  const name = `${place.project}-runs`;
  const clearWhen = async (done: Promise<boolean>) => void ((await done) && onClear());
  return (
    <div class="controls bulk" role="toolbar" aria-label="Selected runs">
      <b>{chosen.length.toLocaleString("en-US")} selected</b>
      <a class="act" href={compareLink(place, chosen.map((run) => run.runId))} title="c">compare</a>
      <button onClick={onOnly} title="e">show only</button>
      <Menu words="tag" label="Tags of the selected runs">{(close) => <TagForm model={model} chosen={chosen} close={close} />}</Menu>
      <button onClick={() => void clearWhen(model.archive(chosen, !archived))}>{archived ? "unarchive" : "archive"}</button>
      <button onClick={() => void clearWhen(model.delete(chosen))}>delete</button>
      <button onClick={() => download(`${name}.csv`, "text/csv", csv(chosen))}>CSV</button>
      <button onClick={() => download(`${name}.json`, "application/json", json(chosen))}>JSON</button>
      <button class="quiet" onClick={onClear}>clear</button>
    </div>
  );
}

function TagForm({ model, chosen, close }: { model: ProjectModel; chosen: readonly Run[]; close(): void }) {
  const present = [...new Set(chosen.flatMap((run) => run.tags))].sort();
  const add = async (event: Event) => {
    event.preventDefault();
    const input = (event.currentTarget as HTMLFormElement).elements.namedItem("tags") as HTMLInputElement;
    const tags = tagsOf(input.value);
    if (tags.length && (await model.editAll(chosen, { addTags: tags }))) close();
  };
  return (
    <>
      <form onSubmit={add}>
        <input type="search" name="tags" placeholder="one, two" aria-label={`Tags to add to ${count(chosen.length, "run")}`} />
        <button type="submit">Add</button>
      </form>
      <ul>
        {present.map((tag) => (
          <li key={tag}>
            <span class="wide">{tag}</span>
            <button class="quiet" aria-label={`Remove ${tag}`} onClick={() => void model.editAll(chosen, { removeTags: [tag] })}>×</button>
          </li>
        ))}
      </ul>
    </>
  );
}

/** What was done, with the way back. */
export function NoticeBar({ model }: { model: ProjectModel }) {
  const notice = model.notice.value;
  useEffect(() => {
    if (!notice) return;
    const timer = setTimeout(() => (model.notice.value = null), NOTICE_MS);
    return () => clearTimeout(timer);
  }, [notice]);
  const undo = async () => {
    model.notice.value = null;
    await notice?.undo?.();
  };
  return (
    <div role="status">
      {notice && (
        <p class="notice">
          {notice.words} {notice.undo && <button onClick={() => void undo()}>Undo</button>}
          <button class="quiet" aria-label="Dismiss" onClick={() => (model.notice.value = null)}>×</button>
        </p>
      )}
    </div>
  );
}
