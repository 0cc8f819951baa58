import { useMemo } from "preact/hooks";
import type { Run } from "../../api";
import { fieldWords } from "../runs/fields";
import { importances } from "./importance";
import type { Goal } from "./sweeps.model";

/** Fewer runs make a rank correlation a matter of luck. */
const FEW = 10;

/** How much each parameter seems to matter, the strongest first. */
export function Bars({ runs, fields, goal, words }: { runs: readonly Run[]; fields: readonly string[]; goal: Goal; words: string }) {
  const found = useMemo(() => importances(runs, fields, goal), [runs, fields, goal.field]);
  if (!found.length) return <p class="muted">Not enough runs have ended to say: it takes four with different values.</p>;
  const least = Math.min(...found.map((one) => one.runs));
  return (
    <>
      <table class="rows bars">
        <thead><tr><th>Parameter</th><th /><th title={`Rank correlation with ${words}`}>Rank correlation</th><th>When it grows</th></tr></thead>
        <tbody>
          {found.map(({ field, strength, sign }) => (
            <tr key={field}>
              <th scope="row" title={fieldWords(field)}>{fieldWords(field)}</th>
              <td class="figure">{sign < 0 ? "−" : ""}{strength.toFixed(2)}</td>
              <td class="bar"><i class={sign && (sign < 0) === goal.smaller ? "better" : sign ? "worse" : ""} style={{ width: `${Math.max(1, 100 * strength)}%` }} /></td>
              <td class="muted">{sign ? `${words} ${sign > 0 ? "grows" : "falls"}` : "a choice, no order"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="muted aside">
        Spearman's rank correlation over the runs that ended; for choices, how far their ranks lie apart. It looks at one
        parameter at a time and sees no interplay.{least < FEW && ` With ${least} runs it is a hint at most.`}
      </p>
    </>
  );
}
