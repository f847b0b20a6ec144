import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { matches, parseQuery, tagQuery } from "./query.ts";

test("what stands in the search box becomes words and conditions", () => {
  const cases: [string, string, object][] = [
    ["", "notes", { words: [], isTrashed: false, isArchived: false }],
    ["milk  bread", "notes", { words: ["milk", "bread"], isTrashed: false, isArchived: false }],
    ['"oat milk" x', "archive", { words: ["oat milk", "x"], isTrashed: false, isArchived: true }],
    ['tag:home TAG:"two words"', "notes", { words: [], tags: ["home", "two words"], isTrashed: false, isArchived: false }],
    ["is:pinned is:favourite", "notes", { words: [], isPinned: true, isFavorite: true, isTrashed: false, isArchived: false }],
    ["is:archived", "notes", { words: [], isTrashed: false, isArchived: true }],
    ["is:trashed", "notes", { words: [], isTrashed: true }],
    ["is:odd", "trash", { words: ["is:odd"], isTrashed: true }],
    ["before:2026-01 after:2025", "notes", { words: [], before: "2026-01", after: "2025", isTrashed: false, isArchived: false }],
    ['tag: "', "notes", { words: ["tag:"], isTrashed: false, isArchived: false }],
    ["a:b", "notes", { words: ["a:b"], isTrashed: false, isArchived: false }],
  ];
  for (const [text, folder, want] of cases) {
    assert.deepEqual(parseQuery(text, folder as "notes"), want, text);
  }
});

test("the text for a tag asks for that tag", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }).filter((t) => t.trim() === t && !/["\s]/.test(t)), (tag) => {
      assert.deepEqual(parseQuery(tagQuery(tag), "notes").tags, [tag]);
    }),
  );
  assert.deepEqual(parseQuery(tagQuery("two words"), "notes").tags, ["two words"]);
});

test("matches are marked whatever their case and accents", () => {
  const marked = (text: string, ...words: string[]) => matches(text, words).map(([a, b]) => text.slice(a, b));
  assert.deepEqual(marked("Café au lait, CAFE", "cafe"), ["Café", "CAFE"]);
  assert.deepEqual(marked("Cafe\u0301 x", "café"), ["Cafe\u0301"]);
  assert.deepEqual(marked("aaa", "a", "aa"), ["aaa"]);
  assert.deepEqual(marked("ﬁn", "fi"), ["ﬁ"]); // a hit inside a letter marks all of it
  assert.deepEqual(marked("🄤", "u"), ["🄤"]);
  assert.deepEqual(marked("x", ""), []);
});

test("marks are in order, apart, and inside the text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.array(fc.string({ unit: "grapheme", maxLength: 3 }), { maxLength: 3 }), (text, words) => {
      let end = -1;
      for (const [from, to] of matches(text, words)) {
        assert.ok(from > end && to > from && to <= text.length);
        end = to;
      }
    }),
  );
});
