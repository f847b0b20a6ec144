import { useRef, useState } from "preact/hooks";
import { sync, tell } from "./app.ts";
import type { MergePart, NoteView } from "./sync/types.ts";

type Part = Exclude<MergePart, { text: string }>;

function isClash(part: MergePart): part is Part {
  return "yours" in part;
}

/** What to keep where both sides changed the same lines, and the result, which can be edited. */
export function ClashView({ view }: { view: NoteView }) {
  const clash = view.clash!;
  const [choices, setChoices] = useState<Record<number, "yours" | "theirs" | "both">>({});
  const area = useRef<HTMLTextAreaElement>(null);
  const textOf = (chosen: typeof choices) =>
    clash.parts
      .map((part, i) => {
        if (!isClash(part)) return part.text;
        if (chosen[i] === "yours") return part.yours;
        if (chosen[i] === "theirs") return part.theirs;
        return both(part);
      })
      .join("");
  const [result, setResult] = useState(clash.result ?? textOf({}));
  const set = (text: string) => {
    setResult(text);
    void sync.mend(view.id, text);
  };
  const choose = (i: number, choice: "yours" | "theirs" | "both") => {
    const chosen = { ...choices, [i]: choice };
    setChoices(chosen);
    set(textOf(chosen));
  };
  const resolve = async () => {
    if (await sync.resolve(view, result)) tell("The clash is solved");
    else tell("It was changed again: look at it once more");
  };
  const clashes = clash.parts.flatMap((part, i) => (isClash(part) ? [{ part, i }] : []));
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
        <textarea ref={area} dir="auto" rows={5} value={result} onInput={(e) => set(e.currentTarget.value)} />
      </label>
      <button type="button" class="primary" onClick={() => void resolve()}>
        Keep the result
      </button>
    </section>
  );
}

/** Both texts, one after the other, on lines of their own. */
function both(part: Part): string {
  if (part.theirs === "" || part.theirs.endsWith("\n")) return part.theirs + part.yours;
  return part.theirs + "\n" + part.yours;
}
