import { flattened, plain } from "../../format";

interface ValuesProps {
  title: string;
  values: Record<string, unknown>;
  words(value: unknown): string;
}

/** A mapping as a table of dotted names and values. */
export function Values({ title, values, words }: ValuesProps) {
  const rows = flattened(values);
  return (
    <section>
      <h2>{title}</h2>
      {rows.length === 0 && <p class="muted">Empty.</p>}
      <table class="rows values">
        <tbody>
          {rows.map(([name, value]) => (
            <tr key={name}>
              <th scope="row" class="code" title={name}>{name}</th>
              <td class="code" title={plain(value)}>{words(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
