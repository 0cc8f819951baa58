import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { count } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import type { MediaItem, TableFile } from "./media.api";
import { useMedia } from "./media";
import { Content, Download, json } from "./media.file";
import { itemsAt, stepsOf } from "./media.model";
import { stepOf, Steps } from "./media.steps";
import type { RunModel } from "./model";
import { CellView, cellText } from "./tables.cell";
import { ColumnHead } from "./tables.column";
import "./tables.css";
import { columnKind, type Order, ordered } from "./tables.order";

/** The name of the step in the address. */
const STEP = "row-step";
const PAGE = 100;

/** The tables of a run, one at a time: sorted, filtered, paged. */
export function Tables({ run, model }: { run: RunDetail; model: RunModel }) {
  const media = useMedia(run, model);
  const query = route.value.query;
  const keys = media.keys.value?.filter(({ mediaType }) => mediaType === "table");
  const chosen = keys?.find(({ key }) => key === query.get("table")) ?? keys?.[0];
  useEffect(() => {
    if (chosen) media.want(chosen.key);
  }, [media, chosen?.key]);
  const all = ((chosen && media.items.value.get(chosen.key)) || []).filter(({ mediaType }) => mediaType === "table");
  const step = stepOf(query, STEP);
  return (
    <div class="tables">
      <div class="controls">
        {chosen && keys && (
          <label>
            table
            <select value={chosen.key} onChange={(event) => setQuery({ table: event.currentTarget.value, [STEP]: null, order: null, page: null }, true)}>
              {keys.map(({ key }) => <option>{key}</option>)}
            </select>
          </label>
        )}
        <Steps steps={stepsOf(all)} step={step} name={STEP} />
        <input
          type="search" class="filter" placeholder="filter rows  /" aria-label="Filter rows" data-filter
          value={query.get("rows") ?? ""} onInput={(event) => setQuery({ rows: event.currentTarget.value, page: null })}
        />
      </div>
      {media.error.value && <Failure error={media.error.value} retry={() => void media.load()} />}
      {keys && !keys.length && <Empty />}
      {itemsAt(all, step).map((item) => <TableItem key={item.index} item={item} filter={query.get("rows") ?? ""} />)}
    </div>
  );
}

function Empty() {
  const snippet = ["import rundial as rd", "", 'table = rd.Table(columns=["id", "score"], rows=[["a", 0.9]])', 'run.log({"predictions": table}, step=step)'].join("\n");
  return (
    <div class="empty">
      <p>No tables yet. This logs one:</p>
      <Copyable text={snippet} block />
    </div>
  );
}

function TableItem({ item, filter }: { item: MediaItem; filter: string }) {
  return (
    <section class="table-item">
      {item.caption && <h2>{item.caption}</h2>}
      <Content<TableFile> item={item} load={json}>{(file) => <Grid file={file} item={item} filter={filter} />}</Content>
    </section>
  );
}

/** A table of rows; with the item it was logged as, it says what was left out of it. */
export function Grid({ file, item, filter }: { file: TableFile; item?: MediaItem; filter: string }) {
  const order = orderOf(route.value.query.get("order"));
  const asked = Number(route.value.query.get("page")) || 1;
  const { columns, rows } = file;
  const kinds = useMemo(() => columns.map((_, at) => columnKind(rows, at)), [file]);
  const wanted = filter.trim().toLowerCase();
  const found = useMemo(
    () => (wanted ? rows.filter((row) => row.some((cell) => cellText(cell).toLowerCase().includes(wanted))) : rows),
    [file, wanted],
  );
  const sorted = useMemo(() => ordered(found, order), [found, order?.column, order?.direction]);
  const pages = Math.max(1, Math.ceil(sorted.length / PAGE));
  const at = Math.max(0, Math.min(asked, pages) - 1);
  const turn = (to: number) => setQuery({ page: to ? String(to + 1) : null });
  const { totalRows, totalColumns } = item?.metadata ?? {};
  return (
    <>
      <p class="muted table-line">
        {wanted ? `${found.length.toLocaleString("en-US")} of ${count(rows.length, "row")}` : count(rows.length, "row")}
        {typeof totalRows === "number" && <span class="cut"> of {totalRows.toLocaleString("en-US")} were kept</span>}
        {typeof totalColumns === "number" && <span class="cut"> {columns.length} of {totalColumns} columns were kept</span>}
        {pages > 1 && (
          <span class="pages">
            <button disabled={at === 0} onClick={() => turn(at - 1)} aria-label="Previous page">‹</button>
            {(at * PAGE + 1).toLocaleString("en-US")}–{Math.min(sorted.length, (at + 1) * PAGE).toLocaleString("en-US")}
            <button disabled={at === pages - 1} onClick={() => turn(at + 1)} aria-label="Next page">›</button>
          </span>
        )}
        {item && <Download item={item} words="JSON" />}
      </p>
      <div class="scroll-x">
        <table class="rows cells">
          <thead>
            <tr>
              {columns.map((name, column) => (
                <ColumnHead
                  key={column} name={name} kind={kinds[column]!} rows={found} column={column}
                  direction={order?.column === column ? order.direction : null}
                  onSort={() => setQuery({ order: orderText(next(order, column)), page: null }, true)}
                />
              ))}
            </tr>
          </thead>
          <tbody>
            {sorted.slice(at * PAGE, (at + 1) * PAGE).map((row) => (
              <tr>{columns.map((_, column) => <CellView cell={row[column] ?? null} kind={kinds[column]!} />)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {wanted && !found.length && <p class="muted">No row has “{filter}” in it. <button onClick={() => setQuery({ rows: null })}>Show all</button></p>}
    </>
  );
}

/** In the address: the column from 1 on, with a minus for downwards. */
function orderOf(text: string | null): Order | null {
  const column = Math.abs(Number(text)) - 1;
  return text && Number.isInteger(column) && column >= 0 ? { column, direction: text.startsWith("-") ? -1 : 1 } : null;
}

function orderText(order: Order | null): string | null {
  return order && `${order.direction < 0 ? "-" : ""}${order.column + 1}`;
}

/** A click on a column: upwards, downwards, as it was logged. */
function next(order: Order | null, column: number): Order | null {
  if (order?.column !== column) return { column, direction: 1 };
  return order.direction === 1 ? { column, direction: -1 } : null;
}
