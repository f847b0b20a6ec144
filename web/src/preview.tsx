import { useEffect, useRef, useState } from "preact/hooks";
import { longest, Rendered } from "./markdown.ts";

/** The Markdown as it is meant to look. A box that is clicked is ticked in the text, by `change`. */
export function Preview({ text, change }: { text: string; change: (text: string) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const rendered = useRef<Rendered | null>(null);
  const took = useRef(0);
  const [images, setImages] = useState(false);
  const [blocked, setBlocked] = useState(0);
  const [error, setError] = useState("");
  useEffect(() => {
    let stale = false;
    rendered.current ??= new Rendered(box.current!);
    // What takes long is done less often: typing comes first.
    const timer = setTimeout(() => {
      const began = performance.now();
      rendered.current!.show(text, images, () => stale).then(
        (count) => {
          took.current = performance.now() - began;
          if (stale) return;
          setBlocked(count);
          setError("");
        },
        (err: Error) => {
          if (!stale) setError(err.message);
        },
      );
    }, box.current!.hasChildNodes() ? Math.max(150, took.current) : 0);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [text, images]);
  return (
    <section class="side preview" aria-label="Preview">
      {blocked > 0 && (
        <p class="banner">
          {blocked === 1 ? "An image" : `${blocked} images`} of other servers, which would learn that you read this:
          <button type="button" onClick={() => setImages(true)}>
            Show
          </button>
        </p>
      )}
      {error !== "" && (
        <p class="banner" role="status">
          {error}.
        </p>
      )}
      {text.length > longest && <p class="banner">The note is long: this is its beginning.</p>}
      <div
        ref={box}
        class="rendered"
        onClick={(e) => {
          const target = e.target as HTMLElement;
          if (target instanceof HTMLInputElement) {
            const next = rendered.current?.ticked(target, text) ?? null;
            if (next === null) e.preventDefault();
            else change(next);
            return;
          }
          const link = target.closest("a");
          const href = link?.getAttribute("href") ?? "";
          if (!href.startsWith("#")) return;
          e.preventDefault(); // the address bar says which note is open
          document.getElementById(href.slice(1))?.scrollIntoView();
        }}
      />
    </section>
  );
}
