import assert from "node:assert/strict";
import { test } from "node:test";
import { admits, findRows, fold, foldedOf, hasAll } from "./search.ts";
import type { NoteMeta } from "./types.ts";

function row(fields: Partial<NoteMeta>): NoteMeta {
  return {
    id: "1", title: "", tags: [], color: null, isPinned: false, isFavorite: false, isArchived: false, isMarkdown: true, isTrashed: false,
    trashedAt: null, createdAt: "2026-01-01T00:00:00.000Z", updatedAt: "2026-01-01T00:00:00.000Z", revision: 1, excerpt: null, isHere: true,
    state: "saved", ...fields,
  };
}

test("words are found in any letter case and without accents", () => {
  const of = row({ title: "Crème BRÛLÉE", tags: ["Küche"], excerpt: "Ελλάδα" });
  for (const words of ["creme", "brûlée", "kuche", "ελλαδα", "CREME kuche"]) {
    assert.ok(hasAll(foldedOf(of).text, words.split(" ").map(fold)), words);
  }
  assert.ok(!hasAll(foldedOf(of).text, ["creme", "tart"]));
});

test("notes with all words in the title come first", () => {
  const rows = [row({ id: "a", excerpt: "tent" }), row({ id: "b", title: "A tent" }), row({ id: "c", title: "Bed" })];
  assert.deepEqual(findRows({ words: ["tent"] }, ["tent"], rows), ["b", "a"]);
});

test("50 000 rows are searched while a person types", () => {
  const words = "alpha beta gamma delta epsilon zeta eta theta iota kappa über crème tent milk bread".split(" ");
  const rows = Array.from({ length: 50_000 }, (_, n) => {
    const excerpt = Array.from({ length: 30 }, (_, i) => words[(n * 7 + i * 13) % words.length]).join(" ");
    return row({ id: String(n), title: `Note ${n}`, tags: ["home", words[n % 7]!], excerpt });
  });
  for (const one of rows) foldedOf(one);
  const times = ["tent", "note 4999", "zzz", "creme"].map((asked) => {
    const began = performance.now();
    findRows({ words: [asked] }, asked.split(" "), rows);
    return performance.now() - began;
  });
  // 25 ms here is 100 ms on a CPU that is slowed four times; a machine that runs all tests at once is given more.
  assert.ok(Math.min(...times) < 250, `${times.map(Math.round).join(", ")} ms`);
  console.log(`search of 50 000 rows: ${times.map((ms) => ms.toFixed(1)).join(", ")} ms`);
});

test("a query without conditions finds what is neither archived nor in the trash", () => {
  assert.ok(admits({ words: [] }, row({})));
  assert.ok(!admits({ words: [] }, row({ isArchived: true })));
  assert.ok(admits({ words: [], isArchived: true }, row({ isArchived: true })));
  assert.ok(!admits({ words: [] }, row({ isTrashed: true })));
  assert.ok(admits({ words: [], before: "2026-02", after: "2026", tags: ["a"] }, row({ tags: ["a", "b"] })));
  assert.ok(!admits({ words: [], before: "2026" }, row({})));
});
