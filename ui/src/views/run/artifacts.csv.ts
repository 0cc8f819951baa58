// Comma- and tab-separated values as a table: RFC 4180, and quotes as spreadsheets write them.
import type { Cell, TableFile } from "./media.api";

const NUMBER = /^[+-]?(?:0|[1-9]\d{0,14}|\d{0,15}\.\d*)(?:[eE][+-]?\d{1,3})?$/;

/** The first record names the columns. `whole` says that the text does not end in the middle of one. */
export function tableOf(text: string, separator: string, whole: boolean): TableFile {
  const records = recordsOf(text, separator);
  if (!whole) records.pop();
  const width = records.reduce((most, record) => Math.max(most, record.length), 0);
  const [names = [], ...rows] = records;
  const columns = Array.from({ length: width }, (_, column) => names[column] || `column ${column + 1}`);
  return { columns, rows: rows.map((row) => columns.map((_, column) => cellOf(row[column]))) };
}

function cellOf(text: string | undefined): Cell {
  if (text === undefined || text === "") return null;
  if (NUMBER.test(text) && /\d/.test(text)) return Number(text);
  return /^nan$/i.test(text) ? "NaN" : text;
}

function recordsOf(text: string, separator: string): string[][] {
  const records: string[][] = [];
  let record: string[] = [];
  let at = 0;
  while (at < text.length) {
    let value = "";
    if (text[at] === '"') {
      for (at++; at < text.length; at++) {
        const end = text.indexOf('"', at);
        value += text.slice(at, end < 0 ? text.length : end);
        at = end < 0 ? text.length : end + 1;
        if (text[at] !== '"') break;
        value += '"';
      }
    }
    const end = endOf(text, at, separator);
    value += text.slice(at, end);
    record.push(value);
    at = end;
    if (text[at] === separator) {
      at++;
      if (at < text.length) continue;
      record.push("");
    }
    records.push(record);
    record = [];
    at += text.startsWith("\r\n", at) ? 2 : 1;
  }
  return records;
}

function endOf(text: string, from: number, separator: string): number {
  for (let at = from; at < text.length; at++) {
    const letter = text[at];
    if (letter === separator || letter === "\n" || (letter === "\r" && text[at + 1] === "\n")) return at;
  }
  return text.length;
}
