// The filter language: `config.lr < 1e-3 and status = failed and "bert" in name`. docs/page.md describes it.
import type { Run } from "../../api";
import { plain } from "../../format";
import { fieldKind, fieldValue } from "./fields";

export interface Filter {
  matches(run: Run): boolean;
  /** The fields it names. */
  fields: string[];
}

/** What is wrong with a filter, and where in the text. */
export class FilterError extends Error {
  constructor(
    message: string,
    readonly at: number,
  ) {
    super(message);
  }
}

export interface Token {
  kind: "word" | "text" | "field" | "sign";
  /** Without quotes. */
  text: string;
  from: number;
  to: number;
  /** A quote that does not end. */
  open?: boolean;
}

type Test = (run: Run) => boolean;

const TOKEN = /\s+|(<=|>=|!=|==|!~|[=<>~(),])|"((?:[^"\\]|\\.)*)("?)|'((?:[^'\\]|\\.)*)('?)|`([^`]*)(`?)|([^\s<>=~(),"'`!]+|!)/gy;
const SIGNS = new Set(["<", "<=", ">", ">=", "=", "==", "!=", "~", "!~"]);
const JOINTS = ["and", "or", "not"];
const MAPPINGS = ["config.", "summary."];
const DURATION = /^(\d+(?:\.\d+)?)(s|m|h|d|w)$/;
const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
/** The fields a word alone looks into. */
const SEARCHED = ["name", "id", "status", "group", "alias", "path", "tags"];

export function tokens(text: string): Token[] {
  const found: Token[] = [];
  for (const match of text.matchAll(TOKEN)) {
    const [all, sign, double, doubleEnd, single, singleEnd, field, fieldEnd, word] = match;
    const place = { from: match.index, to: match.index + all.length };
    const quoted = double ?? single;
    if (sign !== undefined) found.push({ kind: "sign", text: sign, ...place });
    else if (quoted !== undefined) found.push({ kind: "text", text: quoted.replace(/\\(.)/g, "$1"), ...place, open: !(doubleEnd || singleEnd) });
    else if (field !== undefined) found.push({ kind: "field", text: field, ...place, open: !fieldEnd });
    else if (word !== undefined) found.push({ kind: "word", text: word, ...place });
  }
  return found;
}

/**
 * The filter that the text stands for; nothing matches everything. While it is being typed, `isFieldStart` tells
 * words that a field's name begins with: at the end, behind `and`, `or` or `not`, they are comparisons to come. Null
 * takes the text as it is. Throws FilterError.
 */
export function parseFilter(text: string, isFieldStart: ((word: string) => boolean) | null): Filter {
  return new Parser(text, isFieldStart).filter();
}

class Parser {
  private readonly tokens: Token[];
  private readonly fields = new Set<string>();
  private place = 0;

  constructor(
    private readonly text: string,
    private readonly isFieldStart: ((word: string) => boolean) | null,
  ) {
    this.tokens = tokens(text);
  }

  filter(): Filter {
    const open = this.tokens.find((token) => token.open);
    if (open) throw new FilterError("The quote is not closed.", open.from);
    if (!this.tokens.length) return { matches: () => true, fields: [] };
    const matches = this.either();
    const rest = this.peek();
    if (rest) throw new FilterError(rest.text === ")" ? "There is a ) too many." : `“${rest.text}” is not expected here.`, rest.from);
    return { matches, fields: [...this.fields] };
  }

  private peek(ahead = 0): Token | undefined {
    return this.tokens[this.place + ahead];
  }

  private is(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token !== undefined && (token.kind === "sign" || token.kind === "word") && token.text.toLowerCase() === text;
  }

  private takes(text: string): boolean {
    if (!this.is(text)) return false;
    this.place++;
    return true;
  }

  private either(): Test {
    const parts = [this.all()];
    while (this.takes("or")) parts.push(this.all());
    return parts.length === 1 ? parts[0]! : (run) => parts.some((part) => part(run));
  }

  /** Terms that stand side by side must all be true, with or without `and` between them. */
  private all(): Test {
    const parts = [this.term()];
    while (this.takes("and") || (this.peek() && !this.is("or") && !this.is(")") && !this.is(","))) parts.push(this.term());
    return parts.length === 1 ? parts[0]! : (run) => parts.every((part) => part(run));
  }

  private term(): Test {
    if (this.is("not") && this.peek(1)) {
      this.place++;
      const part = this.term();
      return (run) => !part(run);
    }
    if (this.is("(")) {
      const { from } = this.peek()!;
      this.place++;
      const part = this.either();
      if (!this.takes(")")) throw new FilterError("The ( is not closed.", from);
      return part;
    }
    const token = this.operand("Something is missing here.");
    const next = this.peek();
    if (next?.kind === "sign" && SIGNS.has(next.text)) {
      this.place++;
      return this.comparison(this.field(token), next.text, this.operand(`“${next.text}” needs a value behind it.`));
    }
    const negated = this.is("not") && this.is("in", 1);
    if (negated) this.place++;
    if (this.takes("in")) {
      const test = this.membership(token);
      return negated ? (run) => !test(run) : test;
    }
    if (token.kind === "field" || (token.kind === "word" && /^(config|summary)\./.test(token.text))) {
      throw new FilterError(`The field “${token.text}” needs a comparison, such as = or <.`, token.to);
    }
    if (token.kind === "word" && !next && this.isBegun(token.text)) {
      throw new FilterError(`“${token.text}” is not finished. Put it in quotes to search for it.`, token.to);
    }
    return search(token.text);
  }

  /** Whether the word just taken, the last, looks like the beginning of what may stand there behind a term. */
  private isBegun(word: string): boolean {
    if (!this.isFieldStart) return false;
    // Alone a word searches; on the way to `config.` and `summary.` that would empty the table.
    if (this.place < 2) return MAPPINGS.some((mapping) => mapping.startsWith(word.toLowerCase()));
    const joined = JOINTS.some((joint) => this.is(joint, -2));
    return joined ? this.isFieldStart(word) : JOINTS.some((joint) => joint.startsWith(word.toLowerCase()));
  }

  private operand(complaint: string): Token {
    const token = this.peek();
    if (!token) throw new FilterError(complaint, this.text.length);
    if (token.kind === "sign" || this.is("and") || this.is("or")) throw new FilterError(complaint, token.from);
    this.place++;
    return token;
  }

  private field(token: Token): string {
    if (token.kind === "text") throw new FilterError("The name of a field has no quotes, or `these`.", token.from);
    this.fields.add(token.text);
    return token.text;
  }

  /** `field in (a, b)`, or `"part" in field`. */
  private membership(token: Token): Test {
    if (!this.takes("(")) {
      const field = this.field(this.operand("“in” needs a field, or (…), behind it."));
      const part = token.text.toLowerCase();
      return (run) => {
        const value = fieldValue(run, field);
        if (Array.isArray(value)) return value.some((one) => plain(one).toLowerCase() === part);
        return value !== null && plain(value).toLowerCase().includes(part);
      };
    }
    const field = this.field(token);
    const tests: Test[] = [];
    do tests.push(this.comparison(field, "=", this.operand("A value is missing in (…)."))); while (this.takes(","));
    if (!this.takes(")")) throw new FilterError("The ( is not closed.", this.peek()?.from ?? this.text.length);
    return (run) => tests.some((test) => test(run));
  }

  private comparison(field: string, sign: string, value: Token): Test {
    if (sign === "~" || sign === "!~") {
      const pattern = regularExpression(value);
      return (run) => {
        const present = fieldValue(run, field);
        const found = present !== null && pattern.test(Array.isArray(present) ? present.join("\n") : plain(present));
        return found === (sign === "~");
      };
    }
    const wanted = literal(field, value);
    switch (sign) {
      case "=": case "==": return (run) => equal(fieldValue(run, field), wanted);
      case "!=": return (run) => !equal(fieldValue(run, field), wanted);
      case "<": return (run) => order(fieldValue(run, field), wanted) < 0;
      case "<=": return (run) => order(fieldValue(run, field), wanted) <= 0;
      case ">": return (run) => order(fieldValue(run, field), wanted) > 0;
      default: return (run) => order(fieldValue(run, field), wanted) >= 0;
    }
  }
}

function search(text: string): Test {
  const needle = text.toLowerCase();
  return (run) => SEARCHED.some((field) => {
    const value = fieldValue(run, field);
    const words = Array.isArray(value) ? value : [value];
    return words.some((word) => typeof word === "string" && word.toLowerCase().includes(needle));
  });
}

function regularExpression(token: Token): RegExp {
  try {
    return new RegExp(token.text, "i");
  } catch {
    throw new FilterError("This is no regular expression.", token.from);
  }
}

/** A value as the field has it: 2h of a duration is seconds, 2026-11-21 of a date is a moment. */
function literal(field: string, token: Token): number | string | null {
  const { text } = token;
  const kind = fieldKind(field);
  const span = DURATION.exec(text);
  if (kind === "duration" && span) return Number(span[1]) * SECONDS[span[2]!]!;
  if (kind === "date") {
    const moment = Date.parse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text);
    if (!Number.isNaN(moment)) return moment;
    if (text !== "null") throw new FilterError("This is no date, such as 2026-11-21.", token.from);
  }
  if (token.kind === "text") return text;
  if (text.toLowerCase() === "null") return null;
  const value = Number(text);
  return Number.isNaN(value) ? text : value;
}

function equal(value: unknown, wanted: number | string | null): boolean {
  if (wanted === null || value === null) return value === wanted || (wanted === null && Array.isArray(value) && !value.length);
  if (Array.isArray(value)) return value.some((one) => equal(one, wanted));
  if (typeof value === "number" && typeof wanted === "number") return value === wanted;
  return plain(value).toLowerCase() === String(wanted).toLowerCase();
}

/** Below, at or above zero; NaN, of which no comparison is true, when the two cannot be compared. */
function order(value: unknown, wanted: number | string | null): number {
  if (typeof value === "number" && typeof wanted === "number") return value - wanted;
  if (typeof value === "string" && wanted !== null) return value.localeCompare(String(wanted), "en", { numeric: true });
  return NaN;
}

/** A name or value as it can stand in a filter. */
export function quoted(text: string, mark: '"' | "`"): string {
  const plainWord = /^[^\s<>=~(),"'`!]+$/.test(text) && !/^(and|or|not|in|null)$/i.test(text);
  const number = mark === '"' && !Number.isNaN(Number(text));
  return plainWord && !number ? text : mark === '"' ? `"${text.replace(/["\\]/g, "\\$&")}"` : `\`${text}\``;
}
