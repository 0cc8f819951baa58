import { useSignal } from "@preact/signals";
import type { Run } from "../../api";
import { differing, FACT_NAMES, fieldWords, type Known } from "./fields";
import { Menu } from "./menu";

interface PickerProps {
  columns: readonly string[];
  known: Known;
  runs: readonly Run[];
  onColumns(columns: readonly string[] | null): void;
}

/** Chooses the columns; those by which the runs differ stand first. */
export function ColumnPicker(props: PickerProps) {
  return <Menu words="columns" label="Columns">{() => <Picker {...props} />}</Menu>;
}

function Picker({ columns, known, runs, onColumns }: PickerProps) {
  const text = useSignal("");
  const needle = text.value.trim().toLowerCase();
  const fits = (name: string) => name.toLowerCase().includes(needle);
  const different = new Set(differing(runs, known.config));
  const sections: [string, string[]][] = [
    ["Chosen", [...columns]],
    ["Config that differs", known.config.filter((name) => different.has(name))],
    ["Summary", known.summary],
    ["Run", FACT_NAMES.filter((name) => name !== "name")],
    ["Config that is the same", known.config.filter((name) => !different.has(name))],
  ];
  const toggle = (name: string) => onColumns(columns.includes(name) ? columns.filter((one) => one !== name) : [...columns, name]);
  return (
    <>
      <input
        type="search" placeholder="search columns" aria-label="Search columns" value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
      />
      <div class="choices">
        {sections.map(([title, names]) => {
          const shown = names.filter(fits).filter((name) => title === "Chosen" || !columns.includes(name));
          return shown.length > 0 && (
            <fieldset key={title}>
              <legend>{title}</legend>
              {shown.map((name) => (
                <label key={name} title={name}>
                  <input type="checkbox" checked={columns.includes(name)} onChange={() => toggle(name)} /> <span>{fieldWords(name)}</span>
                </label>
              ))}
            </fieldset>
          );
        })}
      </div>
      <button onClick={() => onColumns(null)}>Reset to the usual columns</button>
    </>
  );
}
