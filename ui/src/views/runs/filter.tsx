import { type Signal, useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import type { Run } from "../../api";
import { type Proposal, proposals } from "./complete";
import { FACT_NAMES, type Known } from "./fields";
import { type Filter, FilterError, parseFilter } from "./filter.language";

const EVERYTHING: Filter = { matches: () => true, fields: [] };

export interface Parsed {
  filter: Filter;
  /** What is wrong with the text; the filter is then the last one that was right. */
  complaint: string | null;
  /** Where in the text it went wrong. */
  at: number | null;
}

/** The text as a filter; while it is half-typed, what it was before. `typing` says that more may come. */
export function useFilter(text: string, known: Known, typing: boolean): Parsed {
  const last = useRef(EVERYTHING);
  return useMemo(() => {
    try {
      last.current = parseFilter(text, typing ? (word) => isFieldStart(word.toLowerCase(), known) : null);
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      return { filter: last.current, complaint: error.message, at: error.at };
    }
    return { filter: last.current, complaint: unknownField(last.current.fields, known), at: null };
  }, [text, known, typing]);
}

function isFieldStart(word: string, { config, summary }: Known): boolean {
  return [...FACT_NAMES, ...config, ...summary].some((name) => name.startsWith(word));
}

function unknownField(fields: readonly string[], { config, summary }: Known): string | null {
  const all = [...FACT_NAMES, ...config, ...summary];
  const known = new Set([...all, ...[...config, ...summary].map((name) => name.slice(name.indexOf(".") + 1))]);
  const stranger = fields.find((name) => !known.has(name));
  if (stranger === undefined) return null;
  const ranked = all.map((name) => ({ name, distance: distance(name.toLowerCase(), stranger.toLowerCase()) }));
  const near = ranked.reduce((best, one) => (one.distance < best.distance ? one : best));
  return `No run has a field “${stranger}”.${near.distance <= stranger.length / 3 ? ` Did you mean ${near.name}?` : ""}`;
}

/** How many letters have to be changed, added or taken away (Levenshtein). */
function distance(a: string, b: string): number {
  let row = [...Array(b.length + 1).keys()];
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1]));
    }
    row = next;
  }
  return row[b.length]!;
}

interface FilterBoxProps {
  text: string;
  complaint: string | null;
  /** Where Enter leads while there is a complaint. */
  at: number | null;
  known: Known;
  runs: readonly Run[];
  typing: Signal<boolean>;
  onText(text: string): void;
}

/** The line one writes a filter in, with proposals for what may come next. */
export function FilterBox({ text, complaint, at, known, runs, typing, onText }: FilterBoxProps) {
  const input = useRef<HTMLInputElement>(null);
  const caret = useSignal<number | null>(null);
  const chosen = useSignal(-1);
  const offered = caret.value === null ? [] : proposals(text, Math.min(caret.value, text.length), known, runs);
  const close = () => {
    caret.value = null;
    chosen.value = -1;
  };
  const finish = () => {
    close();
    typing.value = false;
  };
  const look = () => {
    caret.value = input.current!.selectionStart;
    chosen.value = -1;
  };
  const accept = (proposal: Proposal) => {
    const space = text[proposal.to] === " " ? "" : " ";
    const place = proposal.from + proposal.text.length + 1;
    onText(text.slice(0, proposal.from) + proposal.text + space + text.slice(proposal.to));
    requestAnimationFrame(() => {
      input.current?.focus();
      input.current?.setSelectionRange(place, place);
      look();
    });
  };
  // Tab finishes a word that was begun; otherwise it leaves the line as everywhere.
  const takeable = offered[chosen.value] ?? offered.find((proposal) => proposal.from < proposal.to);
  const onKey = (event: KeyboardEvent) => {
    const move = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (move && !offered.length) look();
    else if (move) chosen.value = (chosen.value + move + offered.length + (chosen.value < 0 && move < 0 ? 1 : 0)) % offered.length;
    else if (event.key === "Tab" && !event.shiftKey && takeable) accept(takeable);
    else if (event.key === "Enter" && chosen.value >= 0) accept(offered[chosen.value]!);
    else if (event.key === "Enter") {
      finish();
      if (at !== null) input.current!.setSelectionRange(at, at);
    } else if (event.key === "Escape" && offered.length) close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="filter-box">
      <input
        ref={input} type="text" data-filter="" spellcheck={false} autocomplete="off" placeholder="filter runs  /" value={text}
        aria-label="Filter runs" aria-invalid={complaint !== null} aria-describedby="filter-complaint"
        role="combobox" aria-expanded={offered.length > 0} aria-controls="filter-proposals" aria-autocomplete="list"
        aria-activedescendant={chosen.value >= 0 ? `proposal-${chosen.value}` : undefined}
        onInput={(event) => {
          typing.value = true;
          onText(event.currentTarget.value);
          look();
        }}
        onKeyDown={onKey} onClick={() => caret.value !== null && look()} onBlur={finish}
      />
      {text && <button class="clear quiet" aria-label="Clear the filter" onClick={() => onText("")}>×</button>}
      <ul id="filter-proposals" role="listbox" aria-label="Proposals" hidden={!offered.length}>
        {offered.map((proposal, place) => (
          <li
            key={proposal.text} id={`proposal-${place}`} role="option" aria-selected={place === chosen.value}
            onPointerDown={(event) => {
              event.preventDefault(); // the focus stays in the line
              accept(proposal);
            }}
          >
            <span class="code">{proposal.text}</span> <span class="muted">{proposal.hint}</span>
          </li>
        ))}
      </ul>
      <p id="filter-complaint" class="complaint" role="status">{complaint}</p>
    </div>
  );
}
