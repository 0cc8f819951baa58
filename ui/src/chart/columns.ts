/** One series as the server sends it: five arrays of equal length over the caller's buffer. */
export interface Columns {
  runId: string;
  metricKey: string;
  count: number;
  x: Float64Array;
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  last: Float64Array;
}

const MAGIC = "RDcol1\0\0";
const HEADER_START = 16;

/** The series in a reply of `POST /api/v1/query/buckets`; docs/http.md has the format. Copies no number. */
export function decodeColumns(buffer: ArrayBuffer): Columns[] {
  const magic = new TextDecoder("latin1").decode(new Uint8Array(buffer, 0, Math.min(8, buffer.byteLength)));
  if (magic !== MAGIC) throw new Error("The chart data is in a format this page does not know. Reload the page.");
  const headerLength = new DataView(buffer).getUint32(8, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, HEADER_START, headerLength));
  const header = JSON.parse(text) as { series: { runId: string; metricKey: string; count: number; length: number }[] };
  let offset = Math.ceil((HEADER_START + headerLength) / 8) * 8;
  return header.series.map(({ runId, metricKey, count, length }) => {
    const column = () => {
      const view = new Float64Array(buffer, offset, length);
      offset += length * 8;
      return view;
    };
    return { runId, metricKey, count, x: column(), min: column(), max: column(), mean: column(), last: column() };
  });
}
