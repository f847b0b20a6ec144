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

/** Keeps the folded words of rows, which are folded once. */
export class Folded {
  private texts = new WeakMap<NoteMeta, string>();

  of(row: NoteMeta): string {
    let text = this.texts.get(row);
    if (text === undefined) {
      text = fold([row.title, ...row.tags, row.excerpt ?? ""].join("\n"));
      this.texts.set(row, text);
    }
    return text;
  }
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
    (query.tags ?? []).every((tag) => row.tags.includes(tag))
  );
}

/** Whether all words are in a folded text. */
export function hasAll(text: string, words: readonly string[]): boolean {
  return words.every((word) => text.includes(word));
}
