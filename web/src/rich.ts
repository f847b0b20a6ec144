/** The editor with decorated Markdown. It is loaded when a note is first opened. */
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { deleteMarkupBackward, insertNewlineContinueMarkup, markdownLanguage } from "@codemirror/lang-markdown";
import { HighlightStyle, indentUnit, syntaxHighlighting, syntaxTree } from "@codemirror/language";
import { Annotation, EditorState, Prec, StateEffect, StateField, Transaction, type Range } from "@codemirror/state";
import { Decoration, EditorView, drawSelection, keymap, ViewPlugin, type DecorationSet, type ViewUpdate } from "@codemirror/view";
import { tags as t } from "@lezer/highlight";
import { difference, type Editor, type EditorOptions } from "./editor.ts";
import { matches } from "./query.ts";

const fromOutside = Annotation.define<boolean>();

const highlighting = HighlightStyle.define([
  { tag: t.heading1, fontWeight: "700", fontSize: "1.5em" },
  { tag: t.heading2, fontWeight: "700", fontSize: "1.3em" },
  { tag: [t.heading3, t.heading4, t.heading5, t.heading6], fontWeight: "700", fontSize: "1.1em" },
  { tag: t.strong, fontWeight: "700" },
  { tag: t.emphasis, fontStyle: "italic" },
  { tag: t.strikethrough, textDecoration: "line-through" },
  { tag: [t.monospace], fontFamily: "var(--mono)", backgroundColor: "var(--code)" },
  { tag: [t.link, t.url], color: "var(--link)", textDecoration: "underline" },
  { tag: [t.processingInstruction, t.contentSeparator, t.labelName, t.meta], color: "var(--faint)" },
  { tag: t.quote, color: "var(--soft)" },
]);

const theme = EditorView.theme({
  "&": { height: "100%", fontSize: "inherit", color: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "inherit", lineHeight: "1.6", overflow: "auto" },
  ".cm-content": { padding: "0.5rem var(--pad) 40vh", caretColor: "var(--text)", maxWidth: "46rem", boxSizing: "border-box", width: "100%" },
  ".cm-line": { padding: "0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { background: "var(--selection)" },
  ".cm-task": { cursor: "pointer", color: "var(--link)", fontFamily: "var(--mono)" },
  ".cm-done": { textDecoration: "line-through", color: "var(--soft)" },
  ".cm-hit": { background: "var(--mark)", color: "var(--mark-text)" },
});

/** Where a line has a box to be ticked: its prefix, and what is in it. */
const task = /^(\s*(?:>\s*)*(?:[-*+]|\d+[.)])\s+)\[([ xX])\](?=\s|$)/;

/** Each line has a direction of its own, which moves the cursor, too. */
const ownDirection = Decoration.line({ attributes: { dir: "auto" } });

/** Decorates boxes in what can be seen, and the text after a ticked one. */
const tasks = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;
    constructor(view: EditorView) {
      this.decorations = decorate(view);
    }
    update(u: ViewUpdate) {
      if (u.docChanged || u.viewportChanged || syntaxTree(u.startState) !== syntaxTree(u.state)) this.decorations = decorate(u.view);
    }
  },
  {
    decorations: (plugin) => plugin.decorations,
    eventHandlers: {
      mousedown(event, view) {
        if (!(event.target instanceof Element) || !event.target.closest(".cm-task")) return false;
        event.preventDefault();
        return tick(view, view.posAtDOM(event.target));
      },
    },
  },
);

function decorate(view: EditorView): DecorationSet {
  const found: Range<Decoration>[] = [];
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to; ) {
      const line = view.state.doc.lineAt(at);
      found.push(ownDirection.range(line.from));
      const m = line.length < 2000 ? task.exec(line.text) : null;
      if (m && !inCode(view.state, line.from)) {
        const box = line.from + m[1]!.length;
        found.push(Decoration.mark({ class: "cm-task" }).range(box, box + 3));
        if (m[2] !== " " && box + 3 < line.to) found.push(Decoration.mark({ class: "cm-done" }).range(box + 3, line.to));
      }
      at = line.to + 1;
    }
  }
  return Decoration.set(found);
}

function inCode(state: EditorState, at: number): boolean {
  for (let node = syntaxTree(state).resolveInner(at, 1); node.parent; node = node.parent) {
    if (/Code/.test(node.name)) return true;
  }
  return false;
}

/** Ticks the box in the line of a place, or takes the tick away. It reports whether there is a box. */
function tick(view: EditorView, at: number): boolean {
  const line = view.state.doc.lineAt(at);
  const m = task.exec(line.text);
  if (!m) return false;
  const box = line.from + m[1]!.length + 1;
  view.dispatch({ changes: { from: box, to: box + 1, insert: m[2] === " " ? "x" : " " }, userEvent: "input" });
  return true;
}

/** Puts signs around the selection, or takes them away. */
function around(sign: string) {
  return (view: EditorView) => {
    const { from, to } = view.state.selection.main;
    const n = sign.length;
    const { doc } = view.state;
    if (doc.sliceString(from - n, from) === sign && doc.sliceString(to, to + n) === sign) {
      view.dispatch({ changes: [{ from: from - n, to: from }, { from: to, to: to + n }], userEvent: "input" });
      return true;
    }
    view.dispatch({
      changes: [{ from, insert: sign }, { from: to, insert: sign }],
      selection: { anchor: from + n, head: to + n },
      userEvent: "input",
    });
    return true;
  };
}

function insertLink(view: EditorView): boolean {
  const { from, to } = view.state.selection.main;
  const text = view.state.sliceDoc(from, to);
  view.dispatch({ changes: { from, to, insert: `[${text}]()` }, selection: { anchor: from + text.length + 3 }, userEvent: "input" });
  return true;
}

/** A URL over a selection makes a link of it, and HTML becomes Markdown. All else is pasted as it is. */
const pasting = EditorView.domEventHandlers({
  paste(event, view) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const html = event.clipboardData?.getData("text/html") ?? "";
    const { from, to } = view.state.selection.main;
    if (from < to && /^https?:\/\/\S+$/.test(text.trim())) {
      event.preventDefault();
      insert(view, `[${view.state.sliceDoc(from, to)}](${text.trim()})`);
      return true;
    }
    if (html === "") return false;
    event.preventDefault();
    void Promise.all([import("./markdown.ts"), import("./paste.ts")]).then(
      ([{ sanitized }, { markdownOf }]) => insert(view, markdownOf(html, sanitized) || text),
      () => insert(view, text),
    );
    return true;
  },
});

function insert(view: EditorView, text: string): void {
  view.dispatch(view.state.replaceSelection(text), { userEvent: "input.paste", scrollIntoView: true });
}

const setWords = StateEffect.define<readonly string[]>();
const words = StateField.define<readonly string[]>({
  create: () => [],
  update: (value, tr) => tr.effects.reduce((v, e) => (e.is(setWords) ? e.value : v), value),
});
const hits = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;
    constructor(view: EditorView) {
      this.decorations = this.find(view);
    }
    update(u: ViewUpdate) {
      if (u.docChanged || u.viewportChanged || u.startState.field(words) !== u.state.field(words)) this.decorations = this.find(u.view);
    }
    find(view: EditorView): DecorationSet {
      const wanted = view.state.field(words);
      if (wanted.length === 0) return Decoration.none;
      return Decoration.set(
        view.visibleRanges.flatMap(({ from, to }) =>
          matches(view.state.sliceDoc(from, Math.min(to, from + 100_000)), wanted).map(([a, b]) =>
            Decoration.mark({ class: "cm-hit" }).range(from + a, from + b),
          ),
        ),
      );
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

/**
 * Makes the editor. It is in a shadow root: there its style sheets are adopted, which the page's
 * Content-Security-Policy allows, and a style element would not be.
 */
export function richEditor(options: EditorOptions): Editor {
  const host = document.createElement("div");
  host.className = "rich-editor";
  options.parent.append(host);
  const root = host.attachShadow({ mode: "open" });
  const view = new EditorView({
    parent: root as unknown as HTMLElement,
    root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        EditorState.lineSeparator.of("\n"), // other line ends stay as they are
        history(),
        drawSelection(),
        EditorView.lineWrapping,
        EditorState.allowMultipleSelections.of(true),
        indentUnit.of("  "),
        Prec.high(
          keymap.of([
            { key: "Enter", run: insertNewlineContinueMarkup },
            { key: "Backspace", run: deleteMarkupBackward },
            { key: "Mod-b", run: around("**") },
            { key: "Mod-i", run: around("*") },
            { key: "Mod-e", run: around("`") },
            { key: "Mod-Shift-k", run: insertLink },
            { key: "Mod-Enter", run: (v) => tick(v, v.state.selection.main.head) },
          ]),
        ),
        keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
        markdownLanguage,
        syntaxHighlighting(highlighting),
        words,
        hits,
        tasks,
        pasting,
        theme,
        EditorView.perLineTextDirection.of(true),
        EditorView.contentAttributes.of({ "aria-label": options.label, tabindex: "0", spellcheck: "true", dir: "auto", autocapitalize: "sentences" }),
        EditorView.updateListener.of((u) => {
          if (u.docChanged && !u.transactions.every((tr) => !tr.docChanged || tr.annotation(fromOutside))) {
            options.typed(u.state.doc.toString());
          }
        }),
        EditorView.domEventHandlers({ compositionend: () => void setTimeout(options.composed) }),
      ],
    }),
  });
  return {
    show(text) {
      const now = view.state.doc.toString();
      if (text === now) return;
      view.dispatch({ changes: difference(now, text), annotations: [fromOutside.of(true), Transaction.addToHistory.of(false)] });
    },
    isComposing: () => view.composing,
    focus: () => view.focus(),
    hasFocus: () => view.hasFocus,
    selection: () => [view.state.selection.main.anchor, view.state.selection.main.head],
    select: (from, to) => view.dispatch({ selection: { anchor: from, head: to } }),
    mark: (list) => view.dispatch({ effects: setWords.of(list) }),
    destroy() {
      view.destroy();
      host.remove();
    },
  };
}
