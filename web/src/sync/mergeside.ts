/** What one side of a merge did to the base, as merge/side.go has it. */
import { blankWeight, diff, maxWork, signWeight, wordWeight } from "./mergediff.ts";

/** How a line ends; "": it is the last one of a text. */
export type Ending = "" | "\n" | "\r\n";

/** A line of a text without its end. Lines of all three texts with the same text have the same id. */
export interface Line {
  text: string;
  id: number;
  end: Ending;
}

export class Lines {
  readonly lines: Line[] = [];
  private readonly begins: number[] = []; // of each line in raw

  constructor(readonly raw: string, ids: Map<string, number>) {
    for (let at = 0; at < raw.length; ) {
      const lf = raw.indexOf("\n", at);
      const next = lf < 0 ? raw.length : lf + 1;
      const end: Ending = lf < 0 ? "" : lf > at && raw[lf - 1] === "\r" ? "\r\n" : "\n";
      const text = raw.slice(at, next - end.length);
      let id = ids.get(text);
      if (id === undefined) ids.set(text, (id = ids.size));
      this.lines.push({ text, id, end });
      this.begins.push(at);
      at = next;
    }
  }

  /** The text of the lines from i to j as it stands. */
  rawOf(i: number, j: number): string {
    return this.raw.slice(this.begins[i] ?? this.raw.length, this.begins[j] ?? this.raw.length);
  }
}

/** Lines of the base from begin up to end, with what a side has in their place. */
export interface Span {
  begin: number;
  end: number;
  lines: Line[];
}

/** A run of lines that the side deleted and inserted again elsewhere. */
export interface Move {
  /** The run's lines in the base, without blank ones at its ends. */
  from: number;
  to: number;
  /** Where the first of them is now: in inserted[gap]. */
  gap: number;
  at: number;
}

/** What a side did to a line: replaced it by one other line, deleted it with a run, or replaced several by another number. */
export type Change = "kept" | "replaced" | "deleted" | "blocked";

export class Side {
  /** Of each line of the base: its line in text, or -1. */
  readonly match: Int32Array;
  readonly did: Change[];
  /** In front of a line of the base, or behind the last. */
  readonly inserted = new Map<number, Line[]>();
  readonly moves: Move[] = [];
  private readonly becomes: number[] = []; // of each line that was replaced: its line in text
  private readonly hunks: Span[] = []; // runs that were deleted, and blocks
  private readonly hunk: number[] = []; // of each line that was deleted or blocked: which of them

  constructor(private readonly base: Lines, readonly text: Lines) {
    const weights = new Map<number, number>();
    for (const { id, text: s } of [...base.lines, ...text.lines]) if (!weights.has(id)) weights.set(id, weightOf(s));
    this.did = base.lines.map(() => "kept");
    this.match = diff(base.lines.map(idOf), text.lines.map(idOf), (id) => weights.get(id)!, { cells: maxWork });
    this.slide();
    this.classify();
    this.findMoves();
  }

  /**
   * Moves each pure insertion and each pure deletion down to its lowest place, so that both sides mean the same line
   * where several are alike. It goes from the end to the beginning, as what is below must lie still.
   */
  private slide() {
    const { match, base, text } = this;
    for (let i = match.length - 1; i >= 0; i--) { // deletions
      if (match[i]! >= 0) continue;
      let end = i + 1;
      while (i > 0 && match[i - 1]! < 0) i--;
      let begin = i;
      const before = begin > 0 ? match[begin - 1]! : -1;
      const after = end < match.length ? match[end]! : text.lines.length;
      if (after !== before + 1) continue; // something else stands there
      while (end < match.length && match[end]! >= 0 && base.lines[begin]!.id === base.lines[end]!.id && this.alone(end)) {
        [match[begin], match[end]] = [match[end]!, -1];
        [begin, end] = [begin + 1, end + 1];
      }
    }
    for (let i = match.length - 1; i >= 0; i--) { // insertions in front of line i
      if (match[i]! < 0 || (i > 0 && match[i - 1]! < 0)) continue;
      let begin = i > 0 ? match[i - 1]! + 1 : 0;
      for (let at = i; at < match.length && begin < match[at]! && text.lines[begin]!.id === base.lines[at]!.id && this.alone(at); at++) match[at] = begin++;
    }
  }

  /** Whether nothing was done right below line i of the base, which the side kept. */
  private alone(i: number): boolean {
    if (i + 1 === this.match.length) return this.match[i]! + 1 === this.text.lines.length;
    return this.match[i + 1] === this.match[i]! + 1;
  }

  private classify() {
    const n = this.match.length;
    const lines = this.text.lines;
    for (let [i, j] = [0, 0]; i < n || j < lines.length; ) {
      if (i < n && this.match[i] === j) {
        [i, j] = [i + 1, j + 1];
        continue;
      }
      let end = i;
      while (end < n && this.match[end]! < 0) end++;
      const next = end < n ? this.match[end]! : lines.length;
      const [was, is] = [end - i, next - j];
      if (was === 0) this.inserted.set(i, lines.slice(j, next));
      else if (was === is) {
        for (let x = 0; x < was; x++) [this.did[i + x], this.becomes[i + x]] = ["replaced", j + x];
      } else this.mark({ begin: i, end, lines: lines.slice(j, next) }, is === 0 ? "deleted" : "blocked");
      [i, j] = [end, next];
    }
  }

  private mark(hunk: Span, change: Change) {
    for (let x = hunk.begin; x < hunk.end; x++) [this.did[x], this.hunk[x]] = [change, this.hunks.length];
    this.hunks.push(hunk);
  }

  /** The line that replaced line i of the base. */
  became(i: number): Line {
    return this.text.lines[this.becomes[i]!]!;
  }

  /** The run or the block that line i of the base is in. */
  hunkAt(i: number): Span {
    return this.hunks[this.hunk[i]!]!;
  }

  /** Finds runs that were deleted in one place and inserted in another, without regard to blank lines at their ends. */
  private findMoves() {
    if (!this.hunks.length || !this.inserted.size) return;
    const places = new Map<string, { gap: number; at: number }[]>(); // of insertions, by their lines
    for (const gap of [...this.inserted.keys()].sort((a, b) => a - b)) {
      const { at, run } = firstText(this.inserted.get(gap)!);
      if (run.length) places.set(keyOf(run), [...(places.get(keyOf(run)) ?? []), { gap, at }]);
    }
    for (const { begin, end } of this.hunks) {
      if (this.did[begin] !== "deleted") continue;
      const { at, run } = firstText(this.base.lines.slice(begin, end));
      const place = run.length ? places.get(keyOf(run))?.shift() : undefined;
      if (place) this.moves.push({ from: begin + at, to: begin + at + run.length, ...place });
    }
  }

  /** The move that takes all the base's lines from i to j along. */
  moveOf(i: number, j: number): Move | undefined {
    const move = this.moves.find(({ to }) => to >= j);
    return move && move.from <= i ? move : undefined;
  }

  /** What the side has in place of the base's lines from i to j, where both ends are next to kept lines. */
  rawOf(i: number, j: number): string {
    return this.text.rawOf(i > 0 ? this.match[i - 1]! + 1 : 0, j < this.match.length ? this.match[j]! : this.text.lines.length);
  }

  /**
   * Whether what the side did leaves no place for an insertion in front of line i: inside a run that it deleted, and
   * inside or at the edge of a block.
   */
  forbids(i: number): boolean {
    if (i > 0 && this.did[i - 1] === "blocked") return true;
    if (i === this.did.length) return false;
    return this.did[i] === "blocked" || (this.did[i] === "deleted" && this.hunkAt(i).begin < i);
  }

  /** The lines that the side put in place of the base's lines above and below gap i. */
  beside(i: number): Line[] {
    return [i - 1, i].filter((x) => this.did[x] === "replaced").map((x) => this.became(x));
  }
}

export const idOf = ({ id }: Line) => id;

export function isBlank(s: string): boolean {
  return /^\p{White_Space}*$/u.test(s);
}

/** Whether a line has a letter or a digit. Others separate, and may stand in a text many times. */
export function hasWord(s: string): boolean {
  return /[\p{L}\p{Nd}]/u.test(s);
}

function weightOf(s: string): number {
  return hasWord(s) ? wordWeight : isBlank(s) ? blankWeight : signWeight;
}

/** Lines without blank ones at both ends, and where the first of them is. */
export function firstText(lines: readonly Line[]): { at: number; run: readonly Line[] } {
  const at = lines.findIndex(({ text }) => !isBlank(text));
  if (at < 0) return { at: 0, run: [] };
  return { at, run: lines.slice(at, lines.findLastIndex(({ text }) => !isBlank(text)) + 1) };
}

function keyOf(lines: readonly Line[]): string {
  return lines.map(idOf).join(" ");
}
