import type { ComponentChildren } from "preact";
import { count, number } from "../../format";
import { Failure } from "../../parts/notice";
import type { PagedRows } from "./evals.model";

/** A score, with its verdict as a shape beside it. */
export function Score({ score, passed }: { score: number; passed: boolean | null }) {
  return (
    <span class={passed === false ? "score failed" : "score"} title={String(score)}>
      {number(score)}{" "}
      {passed !== null && <i class={passed ? "passed" : "failed"} role="img" aria-label={passed ? "passed" : "failed"}>{passed ? "✓" : "✕"}</i>}
      {passed === null && <i />}
    </span>
  );
}

/** A table of rows that come in pages. */
export function List<T>({ list, empty, children }: { list: PagedRows<T>; empty: string; children: ComponentChildren }) {
  const rows = list.rows.value;
  const failure = list.error.value && <Failure error={list.error.value} retry={() => void list.refresh()} />;
  if (!rows) return failure || <p class="empty">Loading the results …</p>;
  return (
    <>
      {failure}
      {rows.length ? <div class="scroll-x">{children}</div> : <p class="empty">{empty}</p>}
      {list.hasMore.value && (
        <button class="older" disabled={list.loading.value} onClick={() => void list.grow()}>
          more than {count(rows.length, "result")}: show more
        </button>
      )}
    </>
  );
}
