/** Markdown to HTML in pieces, so that a change of one of them is shown without the others. */
import { compile, parse, postprocess, preprocess, type Options } from "micromark";
import { gfm, gfmHtml } from "micromark-extension-gfm";

/** A part of a text in HTML: what it is of is so many UTF-16 units long. */
export interface Piece {
  html: string;
  length: number;
}

type MarkdownEvent = ReturnType<typeof postprocess>[number];

/** Pieces, and those of a long list, have about so many units. */
const pieceLength = 2000;
const longList = 8000;
/** With more definitions than these, which each piece needs, a text is one piece. */
const mostDefinitions = 100;

/** Where the piece that is being compiled begins. */
let begin = 0;
type HtmlExtension = NonNullable<Options["htmlExtensions"]>[number];
/** A box says where it stands in its piece. */
const boxes = {
  enter: {
    taskListCheck(this: { tag(html: string): void }, token: MarkdownEvent[1]) {
      this.tag(`<input type="checkbox" data-at="${token.start.offset - begin}" `);
    },
  },
} as HtmlExtension;
const options: Options = { allowDangerousHtml: true, htmlExtensions: [gfmHtml(), boxes] }; // the page sanitises it

/** Renders a text. */
export function render(text: string): Piece[] {
  const events = postprocess(parse({ extensions: [gfm()] }).document().write(preprocess()(text, undefined, true)));
  const definitions = events.filter(([, token]) => token.type === "definition").length > 2 * mostDefinitions ? null : definitionsOf(events);
  const isWhole = definitions === null || /\[\^[^\]\n]+\]:/.test(text); // footnotes are numbered
  const cuts: Cut[] = [{ index: 0, offset: 0 }, ...(isWhole ? [] : cutsOf(events))];
  return cuts.map((cut, n) => {
    const next = cuts[n + 1];
    const part = events.slice(cut.index, next?.index);
    if (cut.list) part.unshift(["enter", cut.list[1], cut.list[2]]);
    if (next?.list) part.push(["exit", next.list[1], next.list[2]]);
    begin = cut.offset;
    return { html: compile(options)(cuts.length > 1 ? [...definitions!, ...part] : part), length: (next?.offset ?? text.length) - begin };
  });
}

/** The events of all definitions, which links in any piece may need. */
function definitionsOf(events: MarkdownEvent[]): MarkdownEvent[] {
  const found: MarkdownEvent[] = [];
  let isIn = false;
  for (const event of events) {
    if (event[1].type !== "definition") {
      if (isIn) found.push(event);
      continue;
    }
    isIn = event[0] === "enter";
    found.push(event);
  }
  return found;
}

interface Cut {
  index: number;
  offset: number;
  /** The list that goes on behind the cut. */
  list?: MarkdownEvent;
}

/** Where the text may be cut: between blocks, but not within HTML that goes over several of them. */
function cutsOf(events: MarkdownEvent[]): Cut[] {
  const cuts: Cut[] = [];
  let last = 0;
  let depth = 0;
  let open = 0;
  let list: MarkdownEvent | undefined;
  for (const [index, event] of events.entries()) {
    const [kind, token, context] = event;
    if (kind === "exit") {
      depth--;
      if (depth === 0) list = undefined;
      continue;
    }
    const offset = token.start.offset;
    const isBlock = depth === 0 && token.type !== "lineEnding" && token.type !== "lineEndingBlank";
    const isItem = depth === 1 && list && token.type === "listItemPrefix";
    if (open === 0 && (isBlock || isItem) && offset - last >= pieceLength) {
      cuts.push(isItem ? { index, offset, list: list! } : { index, offset });
      last = offset;
    }
    if (isBlock && token.type === "listUnordered" && token.end.offset - offset > longList) list = event;
    if (token.type === "htmlFlow") open += opened(context.sliceSerialize(token));
    depth++;
  }
  return cuts;
}

/** How many elements HTML leaves open. */
function opened(html: string): number {
  let open = 0;
  for (const [, close, name, self] of html.replace(/<!--[\s\S]*?-->/g, "").matchAll(/<(\/?)([a-z][\w-]*)[^>]*?(\/?)>/gi)) {
    if (!self && !/^(area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr)$/i.test(name!)) open += close ? -1 : 1;
  }
  return open;
}
