// What may come next in a filter.
import type { Run } from "../../api";
import { plain } from "../../format";
import { FACT_NAMES, fieldKind, fieldValue, fieldWords, type Known } from "./fields";
import { quoted, type Token, tokens } from "./filter.language";

export interface Proposal {
  /** What is put in place of the text from `from` to `to`. */
  text: string;
  from: number;
  to: number;
  hint: string;
}

const MOST = 12;
/** More different values than this are not worth a list. */
const MOST_VALUES = 200;
const SIGNS: [string, string][] = [
  ["=", "is"], ["!=", "is not"], ["<", "below"], ["<=", "at most"], [">", "above"], [">=", "at least"],
  ["~", "matches the expression"], ["in", "is one of (…)"],
];
const JOINTS: [string, string][] = [["and", "both"], ["or", "either"]];
const isSign = (token: Token | undefined) => token?.kind === "sign" && /[=<>~]/.test(token.text);
const isWord = (token: Token | undefined, ...words: string[]) => token?.kind === "word" && words.includes(token.text.toLowerCase());

/** Proposals for the word that ends at the caret, best first. */
export function proposals(text: string, caret: number, known: Known, runs: readonly Run[]): Proposal[] {
  const before = tokens(text.slice(0, caret));
  const last = before.at(-1);
  const touching = last && last.to === caret && (last.kind !== "sign" || isSign(last)) && (last.kind !== "text" || last.open) ? last : null;
  const partial = touching && !isSign(touching) ? touching : null;
  if (partial) before.pop();
  const place = { from: partial?.from ?? caret, to: caret };
  const typed = partial?.text.toLowerCase() ?? "";
  const fit = (choices: [text: string, hint: string, words?: string][]) =>
    ranked(choices, typed).map(([choice, hint]) => ({ text: choice, hint, ...place }));

  const field = comparedField(before);
  if (field !== null) return fit(values(field, runs));
  const previous = before.at(-1);
  if (isWord(previous, "in")) return fit(fields(known));
  if (!partial && previous && (previous.kind === "field" || (previous.kind === "word" && isField(previous.text, known)))) {
    if (!isSign(before.at(-2)) && !isWord(before.at(-2), "in")) return fit(SIGNS);
  }
  const ended = previous && !isSign(previous) && !isWord(previous, "and", "or", "not", "in") && previous.text !== "(";
  if (!partial && ended) return fit(JOINTS);
  if (ended && JOINTS.some(([word]) => word.startsWith(typed))) return fit(JOINTS);
  return typed || !previous || isWord(previous, "and", "or", "not") || previous.text === "(" ? fit(fields(known)) : [];
}

/** The field whose value comes next: after `lr =`, or within `status in (`. */
function comparedField(before: Token[]): string | null {
  const last = before.at(-1);
  if (isSign(last)) return before.at(-2)?.text ?? null;
  const opened = before.findLastIndex((token) => token.kind === "sign" && token.text === "(");
  const inside = opened >= 2 && isWord(before[opened - 1], "in") && !before.slice(opened).some((token) => token.text === ")");
  return inside && (last?.text === "(" || last?.text === ",") ? before[opened - 2]!.text : null;
}

function isField(name: string, known: Known): boolean {
  return FACT_NAMES.includes(name) || known.config.includes(name) || known.summary.includes(name) || known.config.includes(`config.${name}`);
}

function fields(known: Known): [string, string, string][] {
  const facts = FACT_NAMES.map((name): [string, string, string] => [name, fieldKind(name) ?? "", name]);
  const others = [...known.config, ...known.summary].map((name): [string, string, string] => [quoted(name, "`"), name.split(".")[0]!, fieldWords(name)]);
  return [...facts, ...others];
}

function values(field: string, runs: readonly Run[]): [string, string][] {
  if (fieldKind(field) === "duration") return ["10m", "1h", "1d"].map((span) => [span, "duration"]);
  const counts = new Map<string, number>();
  for (const run of runs) {
    const value = fieldValue(run, field);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one === null) continue;
      const text = typeof one === "string" ? quoted(one, '"') : plain(one);
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    if (counts.size > MOST_VALUES) return [];
  }
  return [...counts].sort(([, many], [, few]) => few - many).map(([text, times]) => [text, `in ${times}`]);
}

/** What begins with the typed text first, then what contains it. */
function ranked<T extends [text: string, hint: string, words?: string]>(choices: T[], typed: string): T[] {
  if (!typed) return choices.slice(0, MOST);
  const rank = ([text, , words]: T) => {
    const names = [text, words ?? ""].map((name) => name.toLowerCase().replace(/^["`]/, ""));
    if (names.some((name) => name.startsWith(typed))) return 0;
    return names.some((name) => name.includes(typed)) ? 1 : 2;
  };
  const found = choices.map((choice) => ({ choice, rank: rank(choice) })).filter((it) => it.rank < 2);
  const exact = found.length === 1 && found[0]!.choice[0].toLowerCase() === typed;
  return exact ? [] : found.sort((a, b) => a.rank - b.rank).map((it) => it.choice).slice(0, MOST);
}
