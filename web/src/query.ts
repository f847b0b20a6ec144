import type { SearchQuery } from "./sync/types.ts";

export type Folder = "notes" | "archive" | "trash";

/**
 * Reads what stands in the search box: words, and tag:x, is:pinned, is:favorite, is:archived,
 * is:trashed, before:2026-01, after:2026-01. Quotes keep blanks together.
 */
export function parseQuery(text: string, folder: Folder): SearchQuery {
  const query: { -readonly [K in keyof SearchQuery]: SearchQuery[K] } = { words: [] };
  const words: string[] = [];
  const tags: string[] = [];
  query.isTrashed = folder === "trash";
  query.isArchived = folder === "archive";
  if (folder === "trash") delete query.isArchived;
  for (const [, key, quoted, plain] of text.matchAll(/(?:(tag|is|before|after):)?(?:"([^"]*)"?|(\S+))/gi)) {
    const value = quoted ?? plain ?? "";
    if (value === "") continue;
    switch (key?.toLowerCase()) {
      case "tag":
        tags.push(value);
        break;
      case "before":
        query.before = value;
        break;
      case "after":
        query.after = value;
        break;
      case "is":
        if (value === "pinned") query.isPinned = true;
        else if (value === "favorite" || value === "favourite") query.isFavorite = true;
        else if (value === "archived") query.isArchived = true;
        else if (value === "trashed") {
          query.isTrashed = true;
          delete query.isArchived;
        } else words.push("is:" + value);
        break;
      default:
        words.push(value);
    }
  }
  query.words = words;
  if (tags.length > 0) query.tags = tags;
  return query;
}

/** The text that asks for a tag. */
export function tagQuery(tag: string): string {
  return /[\s"]/.test(tag) ? `tag:"${tag.replaceAll('"', "")}"` : `tag:${tag}`;
}

/** The form in which texts are compared for marking: without case and accents. */
function foldLetter(letter: string): string {
  return letter.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();
}

/** The parts of text that match one of the words, as pairs of beginning and end. */
export function matches(text: string, words: readonly string[]): [number, number][] {
  const wanted = words.map((w) => [...w].map(foldLetter).join("")).filter((w) => w !== "");
  if (wanted.length === 0) return [];
  // eslint-disable-next-line no-control-regex
  if (/^[\x00-\x7f]*$/.test(text)) return merged(text.toLowerCase(), wanted, (at) => at, (at) => at + 1);
  let folded = "";
  const from: number[] = []; // for each unit of folded, where the letter in text begins that it comes from,
  const to: number[] = []; // and where that ends
  let at = 0;
  for (const letter of text) {
    const plain = foldLetter(letter);
    for (let i = 0; i < plain.length; i++) {
      from.push(at);
      to.push(at + letter.length);
    }
    folded += plain;
    at += letter.length;
  }
  from.push(text.length);
  // Marks behind a letter, of which nothing is left, belong to it.
  return merged(folded, wanted, (at) => from[at]!, (at) => Math.max(to[at]!, from[at + 1]!));
}

/** The parts of a folded text that match, each once, in order, as places in the text: whole letters of that. */
function merged(folded: string, wanted: readonly string[], begin: (at: number) => number, end: (at: number) => number): [number, number][] {
  const hits: [number, number][] = [];
  for (const word of wanted) {
    for (let i = folded.indexOf(word); i >= 0; i = folded.indexOf(word, i + word.length)) {
      hits.push([begin(i), end(i + word.length - 1)]);
    }
  }
  hits.sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const hit of hits) {
    const last = merged.at(-1);
    if (last && hit[0] <= last[1]) last[1] = Math.max(last[1], hit[1]);
    else merged.push(hit);
  }
  return merged;
}
