/** What the note view asks of an editor: the plain one below, or the rich one in rich.ts. */
export interface Editor {
  /**
   * Shows a text that others have changed: the cursor stays where it is in the text, and nothing is
   * reported to `typed`.
   */
  show(text: string): void;
  /** Whether letters are being composed, so that the text must not be changed. */
  isComposing(): boolean;
  focus(): void;
  hasFocus(): boolean;
  selection(): [number, number];
  select(from: number, to: number): void;
  /** Marks the matches of a search. */
  mark(words: readonly string[]): void;
  destroy(): void;
}

export interface EditorOptions {
  /** The element to be in. */
  parent: HTMLElement;
  text: string;
  label: string;
  /** Called with the whole text after each change by the user. */
  typed(text: string): void;
  /** Called when a composition has ended. */
  composed(): void;
}

/** The smallest change that turns a text into another: replace [from, to) by insert. */
export function difference(a: string, b: string): { from: number; to: number; insert: string } {
  const shorter = Math.min(a.length, b.length);
  let from = 0;
  while (from < shorter && a[from] === b[from]) from++;
  let tail = 0;
  while (tail < shorter - from && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  return { from, to: a.length - tail, insert: b.slice(from, b.length - tail) };
}

/**
 * The text that `raw` becomes when its value in a textarea, which has LF for each end of a line, is
 * changed to `value`. Ends of lines that nobody touched stay as they are.
 */
export function withValue(raw: string, value: string): string {
  if (!raw.includes("\r")) return value;
  const place = (n: number): number => {
    let i = 0;
    for (; n > 0; n--) i += raw[i] === "\r" && raw[i + 1] === "\n" ? 2 : 1;
    return i;
  };
  const { from, to, insert } = difference(raw.replace(/\r\n?/g, "\n"), value);
  const text = raw.slice(0, place(from)) + insert + raw.slice(place(to));
  // A CR that has come before an LF would be one end of a line with it.
  return text.replace(/\r\n?/g, "\n") === value ? text : value;
}

/**
 * Whether a line is so long that browsers need many seconds for what is fine elsewhere: decorations, and
 * finding out its direction.
 */
export function hasLongLine(text: string): boolean {
  return /[^\n]{20000}/.test(text);
}

/** A textarea: until the rich editor is loaded, where it fails, and for those who want it. */
export function plainEditor(options: EditorOptions): Editor {
  const area = document.createElement("textarea");
  area.className = "plain-editor";
  let raw = options.text;
  area.value = raw;
  area.setAttribute("aria-label", options.label);
  if (!hasLongLine(raw)) area.dir = "auto";
  area.spellcheck = true;
  let composing = false;
  area.addEventListener("input", () => options.typed((raw = withValue(raw, area.value))));
  area.addEventListener("compositionstart", () => (composing = true));
  area.addEventListener("compositionend", () => {
    composing = false;
    options.composed();
  });
  options.parent.append(area);
  return {
    show(text) {
      if (text === raw) return;
      raw = text;
      const { from, to, insert } = difference(area.value, text.replace(/\r\n?/g, "\n"));
      const scroll = area.scrollTop;
      area.setRangeText(insert, from, to, "preserve");
      area.scrollTop = scroll;
    },
    isComposing: () => composing,
    focus: () => area.focus(),
    hasFocus: () => document.activeElement === area,
    selection: () => [area.selectionStart, area.selectionEnd],
    select: (from, to) => area.setSelectionRange(from, to),
    mark() {},
    destroy: () => area.remove(),
  };
}
