/**
 * Three-way merge of texts by lines, by the rules of the server's package merge: a test holds the two to one another. It
 * is for what the server's merge can't know: the answer to a save has changes of others, and a person has typed on meanwhile.
 */
import { diff, maxWork, wordWeight, type Work } from "./mergediff.ts";
import { firstText, hasWord, idOf, isBlank, Lines, Side, type Ending, type Line } from "./mergeside.ts";
import { maxWordCells, mergeWords } from "./mergewords.ts";
import type { MergePart } from "./types.ts";

/** The most lines of all three texts together that are not common to all of them at the beginning and the end. */
const maxLines = 120_000;

/**
 * Merges two texts that were made from base. The parts are in the order of the text; without a clash
 * there is one part. Of insertions at one place, theirs come first.
 */
export function mergeText(base: string, mine: string, theirs: string): MergePart[] {
  if (mine === theirs || theirs === base) return [{ text: mine }];
  if (mine === base) return [{ text: theirs }];
  if (isBlank(base)) return withoutBase(base, theirs, mine);
  return new Merger(base, theirs, mine).merge();
}

/** Whether there is no clash in parts, so that they are one text. */
export function isClean(parts: readonly MergePart[]): parts is [{ text: string }] {
  return parts.length === 1 && "text" in parts[0]!;
}

/** A place where both sides changed the base. */
export type ClashPart = Exclude<MergePart, { text: string }>;

/** The text of parts, with what `choose` makes of the clash at index n, or else both sides of it. */
export function textOf(parts: readonly MergePart[], choose: (part: ClashPart, n: number) => string = both): string {
  return parts.map((part, n) => ("text" in part ? part.text : choose(part, n))).join("");
}

/** Both sides of a clash, one after the other, on lines of their own. */
export function both({ theirs, yours }: ClashPart): string {
  return theirs === "" || theirs.endsWith("\n") ? theirs + yours : theirs + "\n" + yours;
}

/** The result that was made of `parts`, when those have become others: what is new in them is in it as well. */
export function carried(parts: readonly MergePart[], result: string, next: readonly MergePart[]): string {
  return textOf(mergeText(textOf(parts), result, textOf(next)));
}

/** Merges lists without repetition, in the order of theirs: what either side added is in it, what either removed is not. */
export function mergeTags(base: readonly string[], mine: readonly string[], theirs: readonly string[]): string[] {
  const kept = theirs.filter((tag) => mine.includes(tag) || !base.includes(tag));
  return [...new Set([...kept, ...mine.filter((tag) => !base.includes(tag))])];
}

/** Merges two texts that were written into an empty one. They are one text only if one contains the other. */
function withoutBase(base: string, ours: string, theirs: string): MergePart[] {
  const ids = new Map<string, number>();
  const [o, t] = [ours, theirs].map((text) => firstText(new Lines(text, ids).lines).run) as [Line[], Line[]];
  if (o.length + t.length < maxLines) {
    if (contains(o, t)) return [{ text: ours }];
    if (contains(t, o)) return [{ text: theirs }];
  }
  return [{ base, theirs: ours, yours: theirs }];
}

/** A merge. Ours is what is stored, theirs what arrives later. */
class Merger {
  private readonly head: string;
  private readonly tail: string;
  /** Of all lines; "": each line keeps its own. */
  private readonly end: Ending = "";
  /** Whether the result ends in a newline. */
  private readonly isFinal: boolean;
  private readonly texts: [base: string, ours: string, theirs: string];
  private readonly base: Lines;
  private readonly ours: Lines;
  private readonly theirs: Lines;
  private sides!: [ours: Side, theirs: Side];
  private parts: MergePart[] = [];
  /** What was merged since the last clash. */
  private out: Line[] = [];
  /** Of all lines that were merged: what isBalanced counts. */
  private ids: number[] = [];
  private readonly work: Work = { cells: maxWork };
  private readonly words: Work = { cells: maxWordCells };
  /** Lines that were merged by words or carried along by a move, which isBalanced does not count. */
  private combed = new Set<number>();
  private hasClashed = false;

  constructor(base: string, ours: string, theirs: string) {
    const all = [base, ours, theirs] as const;
    this.isFinal = prefer(...map(all, (s) => (s ? String(s.endsWith("\n")) : ""))) !== "false";
    this.head = commonHead(...all);
    const style = prefer(...map(all, styleOf));
    if (style === "\n" || style === "\r\n") this.end = style;
    const cut = map(all, (s) => s.slice(this.head.length));
    this.tail = commonTail(...cut);
    this.texts = map(cut, (s) => s.slice(0, s.length - this.tail.length));
    const ids = new Map<string, number>();
    [this.base, this.ours, this.theirs] = map(this.texts, (s) => new Lines(s, ids));
  }

  merge(): MergePart[] {
    if (this.base.lines.length + this.ours.lines.length + this.theirs.lines.length > maxLines) return this.whole();
    this.sides = [new Side(this.base, this.ours), new Side(this.base, this.theirs)];
    if (!this.carryMoves()) return this.whole();
    this.addText(this.head);
    this.run();
    const moved = this.sides.some(({ moves }) => moves.length > 0);
    // With a move a part of it would show a paragraph twice, or not at all.
    if (this.hasClashed ? moved : !this.isBalanced()) return this.whole();
    this.flush(this.tail === "");
    this.addText(this.tail);
    return this.parts.length ? this.parts : [{ text: "" }];
  }

  /** All of it as one clash. */
  private whole(): MergePart[] {
    const [base, theirs, yours] = this.texts;
    this.parts = [];
    this.addText(this.head);
    this.parts.push({ base, theirs, yours });
    this.addText(this.tail);
    return this.parts;
  }

  private addText(text: string) {
    const last = this.parts.at(-1);
    if (!text) return;
    if (last && "text" in last) last.text += text;
    else this.parts.push({ text });
  }

  /**
   * Has each side's changes to lines that the other moved go along with them. It says false for a clash: the other side
   * moved them elsewhere, deleted them, or did more to them than change single lines.
   */
  private carryMoves(): boolean {
    for (const [mover, other] of [this.sides, [...this.sides].reverse()] as [Side, Side][]) {
      for (const move of mover.moves) {
        const also = other.moveOf(move.from, move.to);
        if (also) {
          if (also.from !== move.from || also.to !== move.to || also.gap !== move.gap || also.at !== move.at) return false;
          continue; // both did the same
        }
        const lines = [...mover.inserted.get(move.gap)!];
        for (let i = move.from; i < move.to; i++) {
          if (i > move.from && other.inserted.get(i)?.length) return false;
          if (other.did[i] === "replaced") {
            lines[move.at + i - move.from] = other.became(i);
            other.did[i] = "kept"; // where it was, the line is deleted
            this.combed.add(this.base.lines[i]!.id).add(other.became(i).id);
          } else if (other.did[i] !== "kept") return false;
        }
        mover.inserted.set(move.gap, lines);
      }
    }
    return true;
  }

  /** Merges line by line. */
  private run() {
    const [o, t] = this.sides;
    const n = this.base.lines.length;
    let begin = 0; // of the chunk: what follows the last line that both sides kept
    let mark = 0; // of what was merged before it
    let clash = false;
    for (let i = 0; ; ) {
      clash = !this.insertions(i) || clash;
      if (i < n && !(o.did[i] === "kept" && t.did[i] === "kept")) {
        const { next, isDone } = this.changes(i);
        clash ||= !isDone;
        i = next;
        continue;
      }
      if (clash) this.clash(begin, i, mark);
      if (i === n) return;
      this.add([this.keptLine(i)]);
      begin = ++i;
      [mark, clash] = [this.out.length, false];
    }
  }

  /** Puts a clash in place of what was merged of the base's lines from i to j. */
  private clash(i: number, j: number, mark: number) {
    this.hasClashed = true;
    this.out.length = mark;
    this.flush(false);
    const [o, t] = this.sides;
    this.parts.push({ base: this.base.rawOf(i, j), theirs: o.rawOf(i, j), yours: t.rawOf(i, j) });
  }

  private add(lines: readonly Line[]) {
    for (const line of lines) {
      this.out.push(line);
      this.ids.push(line.id);
    }
  }

  /** Line i of the base with the end that the side which changed it has given it. */
  private keptLine(i: number): Line {
    const [o, t] = this.sides;
    const line = this.base.lines[i]!;
    return { ...line, end: preferEnd(line.end, this.ours.lines[o.match[i]!]!.end, this.theirs.lines[t.match[i]!]!.end) };
  }

  /** Merges what both sides inserted in front of line i of the base. It says false for a clash. */
  private insertions(i: number): boolean {
    const [ours, theirs] = this.sides;
    const [o, t] = [ours.inserted.get(i) ?? [], theirs.inserted.get(i) ?? []];
    if ((o.length && theirs.forbids(i)) || (t.length && ours.forbids(i))) return false;
    if (goesOn(o, theirs.beside(i)) || goesOn(t, ours.beside(i))) return false;
    if (contains(o, t)) this.add(o);
    else if (contains(t, o)) this.add(t);
    else if (goesOn(o, t)) return false;
    else this.both(o, t);
    return true;
  }

  /** Adds what both sides inserted at one place, ours first. Lines with words that both have are added once. */
  private both(o: Line[], t: Line[]) {
    const words = new Set(o.filter(({ text }) => hasWord(text)).map(idOf));
    const match = diff(o.map(idOf), t.map(idOf), (id) => (words.has(id) ? wordWeight : 0), this.work);
    let at = 0;
    o.forEach((line, i) => {
      const k = match[i]!;
      if (k >= 0 && words.has(line.id)) {
        this.add(t.slice(at, k));
        at = k + 1;
      }
      this.add([line]);
    });
    this.add(t.slice(at));
  }

  /** Merges what the sides did to line i of the base, or to the block that begins there. */
  private changes(i: number): { next: number; isDone: boolean } {
    const [o, t] = this.sides;
    const unsure = { next: i + 1, isDone: false };
    for (const [side, other] of [[o, t], [t, o]] as const) {
      if (side.did[i] !== "blocked") continue;
      const block = side.hunkAt(i);
      if (block.begin !== i) return unsure;
      const same = other.did[i] === "blocked" && other.hunkAt(i);
      if (!same || same.begin !== block.begin || same.end !== block.end || !isEqual(same.lines, block.lines)) {
        for (let x = i; x < block.end; x++) {
          if (other.did[x] !== "kept" || (x > i && other.inserted.get(x)?.length)) return unsure;
        }
      }
      this.add(block.lines);
      return { next: block.end, isDone: true };
    }
    const done = { next: i + 1, isDone: true };
    const [ours, theirs] = [o.did[i], t.did[i]];
    if (ours === "replaced" && theirs === "kept") this.add([o.became(i)]);
    else if (ours === "kept" && theirs === "replaced") this.add([t.became(i)]);
    else if (ours === "replaced" && theirs === "replaced") {
      const [base, mine, other] = [this.base.lines[i]!, o.became(i), t.became(i)];
      if (mine.id === other.id) this.add([mine]);
      else {
        const text = mergeWords(base.text, mine.text, other.text, this.words);
        if (text === null) return unsure;
        for (const { id } of [base, mine, other]) this.combed.add(id);
        this.out.push({ text, id: -1, end: preferEnd(base.end, mine.end, other.end) });
      }
    } else if (ours === "replaced" || theirs === "replaced") return unsure; // changed by one, deleted by the other
    return done;
  }

  /**
   * Whether every line with a word is there as often as the changes of both sides say: what one side wrote and the other
   * did not remove is there, and what both wrote is not there more often than they wrote it together.
   */
  private isBalanced(): boolean {
    const [b, o, t, r] = [this.base, this.ours, this.theirs].map(({ lines }) => countOf(lines.map(idOf))).concat(countOf(this.ids)) as [Counts, Counts, Counts, Counts];
    const fewer = new Set<number>(); // a single line of it was replaced
    for (const side of this.sides) side.did.forEach((did, i) => did === "replaced" && fewer.add(this.base.lines[i]!.id));
    for (const { id, text } of [...this.base.lines, ...this.ours.lines, ...this.theirs.lines]) {
      if (this.combed.has(id) || !hasWord(text)) continue;
      const [was, my, their, is] = [b, o, t, r].map((counts) => counts.get(id) ?? 0) as [number, number, number, number];
      let least = Math.max(0, my + their - was);
      let most = least;
      if (my > was && their > was) {
        least = Math.max(my, their);
        if (my === their) most = least;
      } else if (my < was && their < was) most = Math.min(my, their);
      if (fewer.has(id)) least = 0;
      if (is < least || is > most) return false;
    }
    return true;
  }

  /** Adds what was merged since the last clash to the parts. The last line of the text has an end only if isFinal. */
  private flush(isLast: boolean) {
    const last = this.out.length - 1;
    this.addText(this.out.map(({ text, end }, i) => text + (isLast && i === last && !this.isFinal ? "" : this.end || end || "\n")).join(""));
    this.out = [];
  }
}

function map<A, B>([a, b, c]: readonly [A, A, A], f: (of: A) => B): [B, B, B] {
  return [f(a), f(b), f(c)];
}

/** The value of the side that changed it, ours if both did. An empty value is none. */
function prefer(base: string, ours: string, theirs: string): string {
  return ours === "" || (ours === base && theirs !== "") ? theirs : ours;
}

function preferEnd(base: Ending, ours: Ending, theirs: Ending): Ending {
  return prefer(base, ours, theirs) as Ending;
}

/** The end that all lines of a text have, "mixed", or "" if none has one. */
function styleOf(s: string): Ending | "mixed" {
  const ends = s.split("\n").length - 1;
  const long = s.split("\r\n").length - 1;
  return ends === 0 ? "" : long === 0 ? "\n" : long === ends ? "\r\n" : "mixed";
}

/** The whole lines that all texts begin with. */
function commonHead(a: string, b: string, c: string): string {
  let n = 0;
  while (n < Math.min(a.length, b.length, c.length) && a[n] === b[n] && a[n] === c[n]) n++;
  return a.slice(0, a.slice(0, n).lastIndexOf("\n") + 1);
}

/** The whole lines that all texts end with. */
function commonTail(a: string, b: string, c: string): string {
  const most = Math.min(a.length, b.length, c.length);
  let n = 0;
  while (n < most && a.at(-1 - n) === b.at(-1 - n) && a.at(-1 - n) === c.at(-1 - n)) n++;
  const tail = a.slice(a.length - n);
  if ([a, b, c].every((s) => n === s.length || s.at(-1 - n) === "\n")) return tail;
  const first = tail.indexOf("\n");
  return first < 0 ? "" : tail.slice(first + 1);
}

function isEqual(a: readonly Line[], b: readonly Line[]): boolean {
  return a.length === b.length && a.every(({ id }, i) => id === b[i]!.id);
}

/** Whether the lines of part stand in whole, one after the other (Knuth, Morris and Pratt). */
function contains(whole: readonly Line[], part: readonly Line[]): boolean {
  if (!part.length || part.length > whole.length) return !part.length;
  const border = [0]; // of each beginning of part: its longest end that part begins with
  for (let [i, n] = [1, 0]; i < part.length; i++) {
    while (n > 0 && part[i]!.id !== part[n]!.id) n = border[n - 1]!;
    if (part[i]!.id === part[n]!.id) n++;
    border[i] = n;
  }
  let n = 0; // lines of part that have been found
  for (const { id } of whole) {
    while (n > 0 && id !== part[n]!.id) n = border[n - 1]!;
    if (id === part[n]!.id) n++;
    if (n === part.length) return true;
  }
  return false;
}

/**
 * Whether a line of one side begins with another line of the other side. Then one may be the other, typed further, and to
 * keep both may be to write one thing twice.
 */
function goesOn(a: readonly Line[], b: readonly Line[]): boolean {
  if (!a.length || !b.length) return false;
  const all = [...a.map(({ text }) => ({ text, inA: true })), ...b.map(({ text }) => ({ text, inA: false }))];
  all.sort((x, y) => (x.text < y.text ? -1 : x.text > y.text ? 1 : 0));
  const begun: typeof all = []; // the lines that the present one begins with
  for (const line of all) {
    while (begun.length && !line.text.startsWith(begun.at(-1)!.text)) begun.pop();
    if (begun.some(({ text, inA }) => inA !== line.inA && text !== line.text)) return true;
    if (hasWord(line.text) && !begun.slice(-2).some(({ text, inA }) => inA === line.inA && text === line.text)) begun.push(line);
  }
  return false;
}

type Counts = Map<number, number>;

function countOf(ids: readonly number[]): Counts {
  const counts: Counts = new Map();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}
