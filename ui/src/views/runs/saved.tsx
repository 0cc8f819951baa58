import { useSignal } from "@preact/signals";
import { route, setQuery } from "../../router";
import { Menu } from "./menu";
import { recall, remember } from "./remember";

interface SavedView {
  name: string;
  query: string;
}

/** Views of this project that were given a name: each is an address, kept in this browser. */
export function SavedViews({ place }: { place: string }) {
  return <Menu words="views" label="Saved views">{(close) => <Views place={place} close={close} />}</Menu>;
}

function Views({ place, close }: { place: string; close(): void }) {
  const key = `views.${place}`;
  const views = useSignal<SavedView[]>(recall<SavedView[]>(key) ?? []);
  const name = useSignal("");
  const keep = (next: SavedView[]) => {
    views.value = next;
    remember(key, next);
  };
  const save = (event: Event) => {
    event.preventDefault();
    const given = name.value.trim();
    if (!given) return;
    keep([...views.value.filter((view) => view.name !== given), { name: given, query: route.value.query.toString() }]);
    name.value = "";
  };
  const open = (view: SavedView) => {
    const wanted = new URLSearchParams(view.query);
    const cleared = [...route.value.query.keys()].map((known): [string, null] => [known, null]);
    setQuery({ ...Object.fromEntries(cleared), ...Object.fromEntries(wanted) }, true);
    close();
  };
  return (
    <>
      <form onSubmit={save}>
        <input
          type="search" placeholder="name of this view" aria-label="Name of this view" value={name.value}
          onInput={(event) => (name.value = event.currentTarget.value)}
        />
        <button type="submit">Save</button>
      </form>
      {views.value.length === 0 && <p class="muted">Filter, columns, order, shown runs and charts as they are now, under a name, in this browser. The address holds the same, to send to others.</p>}
      <ul>
        {views.value.map((view) => (
          <li key={view.name}>
            <button class="wide" onClick={() => open(view)}>{view.name}</button>
            <button class="quiet" aria-label={`Forget ${view.name}`} onClick={() => keep(views.value.filter((one) => one !== view))}>×</button>
          </li>
        ))}
      </ul>
    </>
  );
}
