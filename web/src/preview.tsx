import { useEffect, useRef, useState } from "preact/hooks";
import { longest, render } from "./markdown.ts";

/** The Markdown as it is meant to look. */
export function Preview({ text }: { text: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [images, setImages] = useState(false);
  const [blocked, setBlocked] = useState(0);
  const [error, setError] = useState("");
  useEffect(() => {
    let stale = false;
    const timer = setTimeout(() => {
      render(text, images).then(
        (made) => {
          if (stale) return;
          box.current?.replaceChildren(made.content);
          setBlocked(made.blocked);
          setError("");
        },
        (err: Error) => {
          if (!stale) setError(err.message);
        },
      );
    }, box.current!.hasChildNodes() ? 150 : 0);
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
          const link = (e.target as Element).closest("a");
          const href = link?.getAttribute("href") ?? "";
          if (!href.startsWith("#")) return;
          e.preventDefault(); // the address bar says which note is open
          document.getElementById(href.slice(1))?.scrollIntoView();
        }}
      />
    </section>
  );
}
