/**
 * Three-way merge of texts by lines, for what the server's merge can't know: the answer to a save
 * has changes of others, and a person has typed on meanwhile. It is stricter than the server's: where
 * it is unsure there is a clash, never a guess.
 */
import type { MergePart } from "./types.ts";

/** A hunk replaces the lines [from, to) of the base by others. */
interface Hunk {
  from: number;
  to: number;
  lines: string[];
}

/** The most changed lines that are compared one by one. Above, all between the first and the last are one hunk. */
const maxChanged = 300;

/**
 * Merges two texts that were made from base. The parts are in the order of the text; without a clash
 * there is one part. Of insertions at one place, theirs come first.
 */
export function mergeText(base: string, mine: string, theirs: string): MergePart[] {
  if (mine === theirs || theirs === base) return [{ text: mine }];
  if (mine === base) return [{ text: theirs }];
  const old = base.split("\n");
  const ours = mine.split("\n");
  const others = theirs.split("\n");
  const merged = mergeLines(old, diff(old, ours), diff(old, others));
  const parts = toParts(merged.segments);
  if (isClean(parts) && !isBalanced(old, ours, others, parts, merged.replaced)) {
    return [{ base, theirs, yours: mine }];
  }
  return parts;
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

type Segment = { lines: string[] } | { base: string[]; theirs: string[]; yours: string[] };

function mergeLines(old: string[], mine: Hunk[], theirs: Hunk[]) {
  const segments: Segment[] = [];
  const replaced = new Set<string>(); // lines that may be fewer, or are new, by a merge within a line
  let at = 0;
  let i = 0;
  let j = 0;
  const keep = (to: number) => {
    if (to > at) segments.push({ lines: old.slice(at, to) });
    at = Math.max(at, to);
  };
  while (i < mine.length || j < theirs.length) {
    const m = mine[i];
    const t = theirs[j];
    if (!m || !t || !touches(m, t)) {
      const next = !m || (t && isBefore(t, m)) ? theirs[j++]! : mine[i++]!;
      keep(next.from);
      segments.push({ lines: next.lines });
      at = next.to;
      if (next.to - next.from === 1) replaced.add(old[next.from]!);
      continue;
    }
    const firstMine = i++;
    const firstTheirs = j++;
    const from = Math.min(m.from, t.from);
    let to = Math.max(m.to, t.to);
    for (;;) {
      if (i < mine.length && (mine[i]!.from < to || touchesAny(mine[i]!, theirs.slice(firstTheirs, j)))) {
        to = Math.max(to, mine[i++]!.to);
      } else if (j < theirs.length && (theirs[j]!.from < to || touchesAny(theirs[j]!, mine.slice(firstMine, i)))) {
        to = Math.max(to, theirs[j++]!.to);
      } else {
        break;
      }
    }
    keep(from);
    const one = i - firstMine === 1 && j - firstTheirs === 1;
    const settled = one ? settle(old, m, t, replaced) : null;
    if (settled) {
      segments.push({ lines: settled });
    } else {
      const yours = apply(old, from, to, mine.slice(firstMine, i));
      const other = apply(old, from, to, theirs.slice(firstTheirs, j));
      const same = yours.length === other.length && yours.every((line, n) => line === other[n]);
      segments.push(same ? { lines: yours } : { base: old.slice(from, to), theirs: other, yours });
    }
    at = to;
  }
  keep(old.length);
  return { segments, replaced };
}

function isBefore(a: Hunk, b: Hunk) {
  return a.from !== b.from ? a.from < b.from : a.to < b.to;
}

function touchesAny(h: Hunk, list: Hunk[]) {
  return list.some((other) => touches(h, other));
}

/**
 * Whether two hunks are about the same lines or place. Neighbours are not, unless one replaces lines by another
 * number of them, or goes on with a line of the other.
 */
function touches(a: Hunk, b: Hunk): boolean {
  if (Math.max(a.from, b.from) < Math.min(a.to, b.to)) return true;
  const [first, last] = isBefore(a, b) ? [a, b] : [b, a];
  if (first.to < last.from) return false;
  const inserts = (h: Hunk) => h.from === h.to;
  if (inserts(a) && inserts(b)) return a.from === b.from;
  const [place, range] = inserts(a) ? [a, b] : [b, a];
  if (inserts(place) && range.from < place.from && place.from < range.to) return true;
  return isBlock(a) || isBlock(b) || isTypedOn(a.lines, b.lines);
}

function isBlock(h: Hunk) {
  const lines = h.to - h.from;
  return lines > 0 && h.lines.length > 0 && lines !== h.lines.length;
}

/** Merges two hunks that touch, or returns null. */
function settle(old: string[], m: Hunk, t: Hunk, replaced: Set<string>): string[] | null {
  const sameRange = m.from === t.from && m.to === t.to;
  if (!sameRange) return null;
  if (m.lines.length === t.lines.length && m.lines.every((line, n) => line === t.lines[n])) return t.lines;
  if (m.from === m.to) {
    if (contains(m.lines, t.lines)) return m.lines;
    if (contains(t.lines, m.lines)) return t.lines;
    const shared = m.lines.some((line) => hasWord(line) && t.lines.includes(line));
    return shared || isTypedOn(m.lines, t.lines) ? null : [...t.lines, ...m.lines];
  }
  if (m.to - m.from !== 1 || m.lines.length !== 1 || t.lines.length !== 1) return null;
  const line = mergeWords(old[m.from]!, m.lines[0]!, t.lines[0]!);
  if (line === null) return null;
  for (const part of [old[m.from]!, m.lines[0]!, t.lines[0]!, line]) replaced.add(part);
  return [line];
}

/** Whether a line of one hunk goes on with one of the other, as when the same text was typed further. */
function isTypedOn(a: string[], b: string[]) {
  const begins = (line: string, start: string) => hasWord(start) && line.startsWith(start);
  return a.some((x) => b.some((y) => begins(x, y) || begins(y, x)));
}

function contains(all: string[], part: string[]) {
  for (let i = 0; i + part.length <= all.length; i++) {
    if (part.every((line, n) => line === all[i + n])) return true;
  }
  return false;
}

/** Merges changes at two places of a line if a word that neither changed lies between them. */
function mergeWords(old: string, mine: string, theirs: string): string | null {
  const [m, t] = [change(old, mine), change(old, theirs)];
  const [first, last] = m.to <= t.from ? [m, t] : [t, m];
  if (first.to > last.from || !/\s\S*[\p{L}\p{N}]\S*\s/u.test(old.slice(first.to, last.from))) return null;
  return old.slice(0, first.from) + first.text + old.slice(first.to, last.from) + last.text + old.slice(last.to);
}

/** The one place at which two texts differ, by their common head and tail. It never cuts a surrogate pair. */
function change(old: string, text: string) {
  const most = Math.min(old.length, text.length);
  let head = 0;
  while (head < most && old[head] === text[head]) head++;
  if (head > 0 && /[\uD800-\uDBFF]/.test(old[head - 1]!)) head--;
  let tail = 0;
  while (tail < most - head && old[old.length - 1 - tail] === text[text.length - 1 - tail]) tail++;
  if (tail > 0 && /[\uDC00-\uDFFF]/.test(old[old.length - tail]!)) tail--;
  return { from: head, to: old.length - tail, text: text.slice(head, text.length - tail) };
}

function apply(old: string[], from: number, to: number, hunks: Hunk[]) {
  const lines: string[] = [];
  let at = from;
  for (const h of hunks) {
    lines.push(...old.slice(at, h.from), ...h.lines);
    at = h.to;
  }
  lines.push(...old.slice(at, to));
  return lines;
}

/** Joins segments. Each line but the last of the text has its line end with it. */
function toParts(all: Segment[]): MergePart[] {
  const segments = all.filter((s) => !("lines" in s) || s.lines.length);
  const parts: MergePart[] = [];
  const last = segments.length - 1;
  let text: string[] = [];
  const joined = (lines: string[], n: number) => lines.map((line) => line + "\n").join("").slice(0, n === last && lines.length ? -1 : undefined);
  segments.forEach((s, n) => {
    if ("lines" in s) {
      text.push(joined(s.lines, n));
      return;
    }
    if (text.length) parts.push({ text: text.join("") });
    text = [];
    parts.push({ base: joined(s.base, n), theirs: joined(s.theirs, n), yours: joined(s.yours, n) });
  });
  if (text.length || !parts.length) parts.push({ text: text.join("") });
  return parts;
}

function hasWord(line: string) {
  return /[\p{L}\p{N}]/u.test(line);
}

/** Whether a clean merge has each line with a word as often as the changes of both sides say. */
function isBalanced(old: string[], mine: string[], theirs: string[], merged: [{ text: string }], replaced: Set<string>) {
  const counted = [old, mine, theirs, merged[0].text.split("\n")].map(count);
  const [b, m, t, r] = counted as [Counts, Counts, Counts, Counts];
  for (const line of new Set([...b.keys(), ...m.keys(), ...t.keys(), ...r.keys()])) {
    if (!hasWord(line) || replaced.has(line)) continue;
    const [was, my, their, is] = [b, m, t, r].map((c) => c.get(line) ?? 0) as [number, number, number, number];
    const sum = my + their - was;
    let [least, most] = [sum, sum];
    if (my > was && their > was) [least, most] = [Math.max(my, their), my === their ? my : sum];
    if (my < was && their < was) [least, most] = [sum, Math.min(my, their)];
    if (is < least || is > most) return false;
  }
  return true;
}

type Counts = Map<string, number>;

function count(lines: string[]): Counts {
  const counts: Counts = new Map();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}

/** The hunks that make b of a. A hunk of n lines for n lines is cut into n hunks. */
function diff(a: string[], b: string[]): Hunk[] {
  const most = Math.min(a.length, b.length);
  let head = 0;
  while (head < most && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < most - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const kept = common(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  const hunks: Hunk[] = [];
  let [i, j] = [head, head];
  for (const [x, y] of [...kept.map(([x, y]) => [x + head, y + head]), [a.length - tail, b.length - tail]] as [number, number][]) {
    if (x > i || y > j) {
      if (x - i === y - j) for (let n = 0; n < x - i; n++) hunks.push({ from: i + n, to: i + n + 1, lines: [b[j + n]!] });
      else hunks.push({ from: i, to: x, lines: b.slice(j, y) });
    }
    [i, j] = [x + 1, y + 1];
  }
  return hunks;
}

/** Pairs of equal lines in order: Myers, "An O(ND) Difference Algorithm and Its Variations", up to a number of changes. */
function common(a: string[], b: string[]): [number, number][] {
  if (!a.length || !b.length) return [];
  const bound = Math.min(a.length + b.length, maxChanged);
  const trace: Map<number, number>[] = [];
  let furthest = new Map<number, number>([[1, 0]]);
  for (let d = 0; d <= bound; d++) {
    const next = new Map<number, number>();
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
      let x = down ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0) + 1;
      let y = x - k;
      while (x < a.length && y < b.length && a[x] === b[y]) [x, y] = [x + 1, y + 1];
      next.set(k, x);
      if (x >= a.length && y >= b.length) {
        trace.push(furthest);
        return walkBack(a, b, trace, d);
      }
    }
    trace.push(furthest);
    furthest = new Map([...furthest, ...next]);
  }
  return [];
}

function walkBack(a: string[], b: string[], trace: Map<number, number>[], changes: number): [number, number][] {
  const pairs: [number, number][] = [];
  let [x, y] = [a.length, b.length];
  for (let d = changes; d >= 0; d--) {
    const furthest = trace[d]!;
    const k = x - y;
    const down = k === -d || (k !== d && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
    const fromK = down ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : furthest.get(fromK)!;
    const fromY = d === 0 ? 0 : fromX - fromK;
    while (x > fromX && y > fromY && x > 0 && y > 0 && a[x - 1] === b[y - 1]) {
      pairs.push([x - 1, y - 1]);
      [x, y] = [x - 1, y - 1];
    }
    if (d > 0) [x, y] = [fromX, fromY];
  }
  return pairs.reverse();
}
