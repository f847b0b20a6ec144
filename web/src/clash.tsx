import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { sync, tell } from "./app.ts";
import { both, carried, textOf } from "./sync/merge.ts";
import type { NoteView } from "./sync/types.ts";

/** What to keep where both sides changed the same lines, and the result, which can be edited. */
export function ClashView({ view }: { view: NoteView }) {
  const clash = view.clash!;
  const [choices, setChoices] = useState<Record<number, "yours" | "theirs" | "both">>({});
  /** What a person made of `parts`; null: nothing yet, which is both sides. */
  const [made, setResult] = useState(clash.result);
  const parts = useRef(clash.parts);
  const result = made ?? textOf(clash.parts);
  const set = (text: string) => {
    setResult(text);
    void sync.mend(view.id, text);
  };
  const choose = (i: number, choice: "yours" | "theirs" | "both") => {
    const chosen = { ...choices, [i]: choice };
    setChoices(chosen);
    set(textOf(clash.parts, (part, n) => (chosen[n] === "yours" ? part.yours : chosen[n] === "theirs" ? part.theirs : both(part))));
  };
  // Somebody typed on, here in the editor or elsewhere: that belongs to the result as well.
  useLayoutEffect(() => {
    const was = parts.current;
    parts.current = clash.parts;
    if (textOf(was) === textOf(clash.parts)) return;
    setChoices({});
    if (made !== null) set(carried(was, made, clash.parts));
  }, [clash.parts]);
  const resolve = async () => {
    if (await sync.resolve(view, result)) tell("The clash is solved");
    else tell("It was changed again: look at it once more");
  };
  const clashes = clash.parts.flatMap((part, i) => ("yours" in part ? [{ part, i }] : []));
  return (
    <section class="clashes" aria-label="Clash">
      <h2>Others changed the same lines</h2>
      <p>Nothing is lost: choose what to keep, or write it in the result below.</p>
      {clashes.map(({ part, i }, n) => (
        <fieldset>
          <legend>
            Place {n + 1} of {clashes.length}
          </legend>
          {(["yours", "theirs", "both"] as const).map((choice) => (
            <label>
              <input type="radio" name={`clash-${i}`} checked={(choices[i] ?? "both") === choice} onChange={() => choose(i, choice)} />
              <span>{choice === "yours" ? "What you wrote here" : choice === "theirs" ? "What the others wrote" : "Both"}</span>
              {choice !== "both" && <pre dir="auto">{part[choice] || "(nothing)"}</pre>}
            </label>
          ))}
        </fieldset>
      ))}
      <label class="result">
        <span>Result</span>
        <textarea dir="auto" rows={5} value={result} onInput={(e) => set(e.currentTarget.value)} />
      </label>
      <button type="button" class="primary" onClick={() => void resolve()}>
        Keep the result
      </button>
    </section>
  );
}
