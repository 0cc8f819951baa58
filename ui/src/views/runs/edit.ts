// Cells one writes into.
import type { Run } from "../../api";
import type { Cell } from "./cells";
import { element } from "./dom";
import type { ProjectModel } from "./model";

export function tagsOf(text: string): string[] {
  return [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
}

/** Tags or notes: Enter keeps what was written, and so does going elsewhere; Escape leaves it as it was. */
export function editableCell(what: "tags" | "notes", model: ProjectModel): Cell {
  const button = element("button");
  const text = document.createTextNode("");
  const nothing = element("span", { class: "muted" }, document.createTextNode("+"));
  const cell = element("td", { role: "cell", class: "value edit" }, button);
  const wordsOf = (run: Run) => (what === "tags" ? run.tags.join(", ") : run.notes ?? "");
  let shown: Run | null = null;
  let last: string | null = null;
  let lastName = "";

  const show = (run: Run) => {
    shown = run;
    const words = wordsOf(run);
    if (words === last && run.runName === lastName) return;
    button.setAttribute("aria-label", `Edit ${what} of ${run.runName}: ${words || "none"}`);
    if (words !== last) text.data = words;
    if (Boolean(words) !== Boolean(last) || last === null) button.replaceChildren(words ? text : nothing);
    last = words;
    lastName = run.runName;
  };

  const edit = () => {
    const run = shown!;
    const words = wordsOf(run);
    const input = element("input", { "aria-label": `${what} of ${run.runName}`, placeholder: what === "tags" ? "one, two" : what });
    input.value = words;
    let done = false;
    const finish = (keep: boolean) => {
      if (done) return;
      done = true;
      const written = input.value.trim();
      cell.replaceChildren(button);
      const change = what === "tags" ? { tags: tagsOf(written) } : { notes: written };
      if (keep && written !== words) void model.edit(run.runId, change);
    };
    input.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === "Escape") finish(event.key === "Enter");
      event.stopPropagation();
    };
    input.onblur = () => finish(true);
    cell.replaceChildren(input);
    input.focus();
  };
  button.onclick = edit;
  return { element: cell, show, title: (run) => wordsOf(run) || `Add ${what}` };
}
