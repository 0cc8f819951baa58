// Lists that the address holds, and this browser remembers for each project where the address says nothing.
import { useSignal } from "@preact/signals";
import { route, setQuery } from "../router";
import { listText, parseList } from "../views/runs/columns";
import { recall, remember } from "../views/runs/remember";

/** A list under `name` in the address, and what changes it. An empty list leaves the address. */
export function useKept(name: string, place: string): [kept: ReadonlySet<string>, set: (values: ReadonlySet<string>) => void] {
  const key = `charts.${name}.${place}`;
  const remembered = useSignal<string[]>(recall<string[]>(key) ?? []);
  const set = (values: ReadonlySet<string>) => {
    remembered.value = [...values];
    remember(key, remembered.value);
    setQuery({ [name]: listText(remembered.value) });
  };
  return [new Set(parseList(route.value.query.get(name)) ?? remembered.value), set];
}

/** The set with `value` in it, or without it if it was there. */
export function toggled(values: ReadonlySet<string>, value: string): ReadonlySet<string> {
  const next = new Set(values);
  if (!next.delete(value)) next.add(value);
  return next;
}
