/** Search over what is here, as a person types. */
import type { NoteMeta, SearchQuery } from "./types.ts";

const marks = /\p{M}/gu;
// eslint-disable-next-line no-control-regex
const plain = /^[\x00-\x7f]*$/;

/** The text as it is compared: in lower case, without accents. */
export function fold(text: string): string {
  const lower = text.toLowerCase();
  return plain.test(lower) ? lower : lower.normalize("NFD").replace(marks, "").normalize("NFC");
}

const folded = Symbol("folded");

/** A row with its folded words: they are made once, and found faster in it than in a map. */
interface FoldedRow extends NoteMeta {
  [folded]?: { text: string; titleEnd: number };
}

/** The folded words of a row. */
export function foldedOf(row: FoldedRow): { text: string; titleEnd: number } {
  let of = row[folded];
  if (!of) {
    const title = fold(row.title);
    const text = [title, fold([...row.tags, row.excerpt ?? ""].join("\n"))].join("\n"); // join makes it in one piece
    of = row[folded] = { text, titleEnd: title.length };
  }
  return of;
}

/** The rows that have the folded words, those with all of them in the title first. */
export function findRows(query: SearchQuery, words: readonly string[], rows: readonly NoteMeta[]): string[] {
  const titled: string[] = [];
  const others: string[] = [];
  for (const row of rows) {
    if (!admits(query, row)) continue;
    const { text, titleEnd } = foldedOf(row);
    let isTitled = true;
    let has = true;
    for (const word of words) {
      const at = text.indexOf(word);
      if (at < 0) {
        has = false;
        break;
      }
      isTitled &&= at + word.length <= titleEnd;
    }
    if (has) (isTitled ? titled : others).push(row.id);
  }
  return titled.concat(others);
}

/** Whether a row is what the query asks for, but for its words. */
export function admits(query: SearchQuery, row: NoteMeta): boolean {
  return (
    row.isArchived === (query.isArchived ?? false) &&
    row.isTrashed === (query.isTrashed ?? false) &&
    (query.isPinned === undefined || row.isPinned === query.isPinned) &&
    (query.isFavorite === undefined || row.isFavorite === query.isFavorite) &&
    (query.before === undefined || row.updatedAt < query.before) &&
    (query.after === undefined || row.updatedAt >= query.after) &&
    (!query.tags || query.tags.every((tag) => row.tags.includes(tag)))
  );
}

/** Whether all words are in a folded text. */
export function hasAll(text: string, words: readonly string[]): boolean {
  return words.every((word) => text.includes(word));
}
