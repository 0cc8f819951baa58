// The address is the state of the view: `#/path/of/segments?query`.
import { signal } from "@preact/signals";

export interface Route {
  path: string[];
  query: URLSearchParams;
}

function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    // Someone typed a lone % into the address: it then means itself.
    return segment;
  }
}

export const route = signal(parse(location.hash));

const read = () => {
  route.value = parse(location.hash);
};
addEventListener("hashchange", read);
addEventListener("popstate", read);

/** A link to a place in the page; segments may hold any character. */
export function link(...path: string[]): string {
  return "#/" + path.map(encodeURIComponent).join("/");
}

/** Goes to a place without leaving the present address in the history. */
export function replaceRoute(hash: string): void {
  history.replaceState(null, "", hash);
  read();
}

/**
 * Changes the query of the present address; null takes a name away. `push` makes it a step that "back" undoes:
 * for what one clicks, not for what one drags or types.
 */
export function setQuery(changes: Record<string, string | null>, push = false): void {
  const query = new URLSearchParams(route.value.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  const hash = link(...route.value.path) + (text ? "?" + text : "");
  if (push) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
  route.value = { path: route.value.path, query };
}
