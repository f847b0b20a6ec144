import assert from "node:assert/strict";
import { test } from "node:test";
import { admits, fold, Folded, hasAll } from "./search.ts";
import type { NoteMeta } from "./types.ts";

function row(fields: Partial<NoteMeta>): NoteMeta {
  return {
    id: "1", title: "", tags: [], color: null, isPinned: false, isFavorite: false, isArchived: false, isMarkdown: true, isTrashed: false,
    trashedAt: null, createdAt: "2026-01-01T00:00:00.000Z", updatedAt: "2026-01-01T00:00:00.000Z", revision: 1, excerpt: null, isHere: true,
    state: "saved", ...fields,
  };
}

test("words are found in any letter case and without accents", () => {
  const folded = new Folded();
  const of = row({ title: "Crème BRÛLÉE", tags: ["Küche"], excerpt: "Ελλάδα" });
  for (const words of ["creme", "brûlée", "kuche", "ελλαδα", "CREME kuche"]) {
    assert.ok(hasAll(folded.of(of), words.split(" ").map(fold)), words);
  }
  assert.ok(!hasAll(folded.of(of), ["creme", "tart"]));
});

test("a query without conditions finds what is neither archived nor in the trash", () => {
  assert.ok(admits({ words: [] }, row({})));
  assert.ok(!admits({ words: [] }, row({ isArchived: true })));
  assert.ok(admits({ words: [], isArchived: true }, row({ isArchived: true })));
  assert.ok(!admits({ words: [] }, row({ isTrashed: true })));
  assert.ok(admits({ words: [], before: "2026-02", after: "2026", tags: ["a"] }, row({ tags: ["a", "b"] })));
  assert.ok(!admits({ words: [], before: "2026" }, row({})));
});
