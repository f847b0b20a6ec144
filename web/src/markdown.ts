/** Markdown to HTML for the preview, and sanitized HTML. */
import DOMPurify from "dompurify";
import { difference } from "./editor.ts";
import type { Piece } from "./pieces.ts";
import { renderer, scriptURL } from "./trusted.ts";

/** The longest text that is shown, in UTF-16 units. */
export const longest = 400_000;

const purifier = DOMPurify(window);
let remoteImages = false;
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A") {
    const href = node.getAttribute("href") ?? "";
    if (href === "") node.removeAttribute("href");
    else if (href.startsWith("#")) node.setAttribute("href", "#user-content-" + href.slice(1)); // as ids become
    else {
      node.setAttribute("target", "_blank");
      node.setAttribute("rel", "noopener noreferrer");
    }
  } else if (node.nodeName === "INPUT") {
    if (node.getAttribute("type") !== "checkbox") node.remove();
    else {
      if (!node.hasAttribute("data-at")) node.setAttribute("disabled", "");
      node.setAttribute("aria-label", node.parentElement?.textContent?.trim().slice(0, 80) || "task");
    }
  } else if (node.nodeName === "IMG") {
    const src = node.getAttribute("src") ?? "";
    if (!remoteImages && !src.startsWith("data:") && new URL(src, location.href).origin !== location.origin) {
      node.setAttribute("data-src", src);
      node.removeAttribute("src");
      node.setAttribute("alt", `[image: ${node.getAttribute("alt") || src}]`);
    }
    node.setAttribute("loading", "lazy");
  }
});

const rules = {
  FORBID_TAGS: ["style", "form", "button", "select", "textarea", "video", "audio", "picture", "source", "svg", "math", "dialog"],
  FORBID_ATTR: ["style", "class", "srcset", "name"],
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto|tel|obsidian|joplin|data:image\/(?:png|jpeg|gif|webp|avif));?|[^a-z]|[a-z+.-]+(?:[^a-z+.:-]|$))/i,
  SANITIZE_NAMED_PROPS: true,
  RETURN_DOM_FRAGMENT: true as const,
};

/** How long rendering may take, in ms. */
const patience = 5000;
let working: Worker | null = null;
let giveUp = () => {};

/** Renders Markdown beside the page. It fails if that takes too long, or another text comes meanwhile. */
function html(text: string): Promise<Piece[]> {
  giveUp();
  return new Promise((resolve, reject) => {
    working ??= new Worker(scriptURL(renderer));
    const fail = (why: string) => () => {
      clearTimeout(timer);
      working?.terminate();
      working = null;
      giveUp = () => {};
      reject(new Error(why));
    };
    const timer = setTimeout(fail("The text takes too long to render"), patience);
    giveUp = fail("");
    working.onerror = fail("The text can't be rendered");
    working.onmessage = (event: MessageEvent<Piece[]>) => {
      clearTimeout(timer);
      giveUp = () => {};
      resolve(event.data);
    };
    working.postMessage(text);
  });
}

/** What a preview shows: each piece of the text is an element. */
export class Rendered {
  private pieces: Piece[] = [];
  private text = "";
  private images = false;
  constructor(private readonly box: HTMLElement) {}

  /** Shows a text. What has not changed stays. Returns the number of images of other servers that were left out. */
  async show(text: string, images: boolean, isStale: () => boolean): Promise<number> {
    const pieces = await html(text.slice(0, longest));
    if (isStale()) return 0;
    if (images !== this.images) this.pieces = [];
    let from = 0;
    const shorter = Math.min(pieces.length, this.pieces.length);
    while (from < shorter && pieces[from]!.html === this.pieces[from]!.html) from++;
    let tail = 0;
    while (tail < shorter - from && pieces.at(-1 - tail)!.html === this.pieces.at(-1 - tail)!.html) tail++;
    const { activeElement } = document;
    const active = activeElement instanceof HTMLElement ? this.placeOf(activeElement) : null;
    remoteImages = images;
    const [nodes, end] = [this.box.children, this.box.children.length - tail];
    for (let n = Math.max(end, pieces.length - tail); n-- > from; ) {
      if (n >= pieces.length - tail) nodes[n]!.remove();
      else if (n < end) nodes[n]!.replaceChildren(content(pieces[n]!.html));
    }
    const behind = nodes[end] ?? null;
    for (let n = Math.max(from, end); n < pieces.length - tail; n++) {
      const element = document.createElement("div");
      element.className = "piece";
      element.append(content(pieces[n]!.html));
      this.box.insertBefore(element, behind);
    }
    [this.pieces, this.text, this.images] = [pieces, text, images];
    if (active && !document.contains(activeElement)) nodes[active.piece]?.querySelector<HTMLElement>(`[data-at="${active.at}"]`)?.focus();
    return this.box.querySelectorAll("img[data-src]").length;
  }

  /** The text that `text` becomes by a click on a box, null if the box is not there any more. */
  ticked(element: HTMLElement, text: string): string | null {
    const place = this.placeOf(element);
    if (!place) return null;
    let at = place.at;
    for (const piece of this.pieces.slice(0, place.piece)) at += piece.length;
    const { from, to, insert } = difference(this.text, text);
    if (at + 3 > from) {
      if (at < to) return null;
      at += insert.length - (to - from);
    }
    const box = /^\[([ \txX])\]/.exec(text.slice(at, at + 3));
    return box && text.slice(0, at + 1) + (/x/i.test(box[1]!) ? " " : "x") + text.slice(at + 2);
  }

  private placeOf(element: HTMLElement): { piece: number; at: number } | null {
    const piece = [...this.box.children].findIndex((child) => child.contains(element));
    const { at } = element.dataset;
    return piece < 0 || at === undefined ? null : { piece, at: Number(at) };
  }
}

function content(html: string): DocumentFragment {
  const made = purifier.sanitize(html, rules);
  for (const block of made.querySelectorAll("p, li, h1, h2, h3, h4, h5, h6, td, th, blockquote")) {
    if (block.textContent.length < 20_000) block.setAttribute("dir", "auto");
  }
  return made;
}

/** HTML of the clipboard without what could run. It is not for the page. */
export function sanitized(html: string): DocumentFragment {
  remoteImages = true; // nothing is shown, so nothing is fetched
  return purifier.sanitize(html, rules);
}
