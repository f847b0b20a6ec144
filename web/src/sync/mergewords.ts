/** Merges two changes of one line by words, as merge/words.go does. */
import { blankWeight, diff, maxWork, wordWeight, type Work } from "./mergediff.ts";

/** The longest line that is merged by words, and what all of one merge may compare. */
const maxLine = 64 << 10;
export const maxWordCells = 4 << 20;

/** A changed range of the base's tokens. */
interface Hunk {
  begin: number;
  end: number;
  text: string;
}

/** The merged line, or null unless at least one unchanged word lies between the changes of the two sides. */
export function mergeWords(base: string, ours: string, theirs: string, work: Work): string | null {
  if (work.cells < 0 || Math.max(base.length, ours.length, theirs.length) > maxLine) return null;
  const ids = new Map<string, number>();
  const words: boolean[] = []; // by id
  const tokens = (s: string) => {
    const texts = tokensOf(s);
    return {
      texts,
      ids: texts.map((text) => {
        let id = ids.get(text);
        if (id === undefined) {
          ids.set(text, (id = ids.size));
          words.push(isWord.test(text));
        }
        return id;
      }),
    };
  };
  const [b, o, t] = [tokens(base), tokens(ours), tokens(theirs)];
  if ((work.cells -= b.ids.length * (o.ids.length + t.ids.length) + base.length + ours.length + theirs.length) < 0) return null;
  const weight = (id: number) => (words[id] ? wordWeight : blankWeight);
  const mine = hunksOf(diff(b.ids, o.ids, weight, { cells: maxWork }), o.texts);
  const other = hunksOf(diff(b.ids, t.ids, weight, { cells: maxWork }), t.texts);
  const isWordBetween = (begin: number, end: number) => b.ids.slice(begin, Math.max(begin, end)).some((id) => words[id]);
  let merged = "";
  let at = 0;
  const ends: [number, number] = [-1, -1]; // where the last change of each side ended, if there was one
  for (let [i, j] = [0, 0]; i < mine.length || j < other.length; ) {
    const [x, y] = [mine[i], other[j]];
    let h: Hunk;
    if (x && y && x.begin === y.begin && x.end === y.end && x.text === y.text) {
      h = x; // both did the same
      [i, j] = [i + 1, j + 1];
      for (const side of [0, 1] as const) if (ends[side] >= 0) ends[side] = h.end;
    } else {
      const side = !x || (y && y.begin < x.begin) ? 1 : 0;
      h = side ? y! : x!;
      side ? j++ : i++;
      const end = ends[1 - side]!;
      if (end >= 0 && !isWordBetween(end, h.begin)) return null;
      ends[side] = h.end;
    }
    merged += b.texts.slice(at, h.begin).join("") + h.text;
    at = h.end;
  }
  return merged + b.texts.slice(at).join("");
}

function hunksOf(match: Int32Array, side: string[]): Hunk[] {
  const hunks: Hunk[] = [];
  for (let [i, j] = [0, 0]; i < match.length || j < side.length; ) {
    if (i < match.length && match[i] === j) {
      [i, j] = [i + 1, j + 1];
      continue;
    }
    let end = i;
    while (end < match.length && match[end]! < 0) end++;
    const next = end < match.length ? match[end]! : side.length;
    hunks.push({ begin: i, end, text: side.slice(j, next).join("") });
    [i, j] = [end, next];
  }
  return hunks;
}

// In scripts that are written without blanks each character is a word. A mark belongs to what it follows.
const ideograph = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
const letter = `(?![${ideograph}])[\\p{L}\\p{Nd}_]`;
const mark = `(?![${ideograph}])[\\p{M}\\u200D'’]`;
const token = new RegExp(`\\p{White_Space}+|[${ideograph}]|${letter}(?:${letter}|${mark})*|.`, "gsu");
const isWord = new RegExp(`^(?:[${ideograph}]|${letter})`, "u");

/** Words, runs of blanks, and signs. */
function tokensOf(s: string): string[] {
  return s.match(token) ?? [];
}
