import { useMemo } from "preact/hooks";
import { count } from "../../format";
import { CopyText } from "../../parts/notice";

interface FilePatch {
  name: string;
  added: number;
  removed: number;
  lines: string[];
}

/** Lines of one file that are drawn: a generated file must not fill the page. */
const MOST_LINES = 5_000;

/** A unified diff, file by file. */
export function Patch({ text }: { text: string }) {
  const files = useMemo(() => filesOf(text), [text]);
  return (
    <>
      <h2>
        <span>Not committed</span>
        <span class="muted">{count(files.length, "file")}</span>
        <CopyText text={text} words="patch" />
      </h2>
      {files.length === 0 && <p class="muted">Nothing.</p>}
      {files.map((file, place) => (
        <details key={place} class="patch" open={files.length < 20}>
          <summary>
            <span class="code">{file.name}</span> <span class="added">+{file.added}</span> <span class="removed">−{file.removed}</span>
          </summary>
          <pre tabIndex={0}>
            {file.lines.slice(0, MOST_LINES).map((line, at) => <div key={at} class={kindOf(line)}>{line || " "}</div>)}
          </pre>
          {file.lines.length > MOST_LINES && <p class="muted">{count(file.lines.length - MOST_LINES, "line")} more; copy the patch to read them.</p>}
        </details>
      ))}
    </>
  );
}

function filesOf(text: string): FilePatch[] {
  const files: FilePatch[] = [];
  let hunks = false;
  for (const line of text.replace(/\n$/, "").split("\n")) {
    if (line.startsWith("diff --git ")) {
      files.push({ name: line.match(/ b\/(.*)$/)?.[1] ?? line.slice(11), added: 0, removed: 0, lines: [] });
      continue;
    }
    const file = files.at(-1);
    if (!file) continue;
    hunks = line.startsWith("@@") || (hunks && file.lines.length > 0);
    // What git says of a file before its first hunk repeats its name, but for modes and renames.
    if (!hunks && /^(index|---|\+\+\+) /.test(line)) continue;
    file.lines.push(line);
    if (hunks && line.startsWith("+")) file.added++;
    else if (hunks && line.startsWith("-")) file.removed++;
  }
  return files;
}

function kindOf(line: string): string {
  if (line.startsWith("@@")) return "muted";
  return line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
}
