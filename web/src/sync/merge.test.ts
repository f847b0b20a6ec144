import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isClean, mergeTags, mergeText } from "./merge.ts";

const cases: [name: string, base: string, mine: string, theirs: string, want: string | null][] = [
  ["one side unchanged", "a\nb\n", "a\nb\n", "a\nc\n", "a\nc\n"],
  ["both the same", "a\n", "b\n", "b\n", "b\n"],
  ["neighbouring lines", "- [ ] a\n- [ ] b\n", "- [x] a\n- [ ] b\n", "- [ ] a\n- [x] b\n", "- [x] a\n- [x] b\n"],
  ["both append", "a", "a\nmine", "a\ntheirs", "a\ntheirs\nmine"],
  ["typed on, in front of theirs", "a\nmi", "a\nmine", "a\nmi\ntheirs", "a\nmine\ntheirs"],
  ["words far apart in a line", "one two three", "one two 3", "1 two three", "1 two 3"],
  ["words side by side", "one two", "one 2", "1 two", null],
  ["the same line", "a\n", "mine\n", "theirs\n", null],
  ["changed and deleted", "a\nb\nc\n", "a\nB\nc\n", "a\nc\n", null],
  ["the same line in two places", "a\nb\n", "new\na\nb\n", "a\nb\nnew\n", null],
  ["an insertion that goes on with the other", "a\n", "a\nwords and more\n", "a\nwords\n", null],
  ["an insertion above a line that was replaced by a part of it", "a\nb\n", "words and more\na\nb\n", "words\nb\n", null],
  ["the last line deleted", "a\nb", "a", "x\nb", "x"],
  ["surrogate pairs", "😀 two three", "😁 two three", "😀 two 3", "😁 two 3"],
];

for (const [name, base, mine, theirs, want] of cases) {
  test(`merge: ${name}`, () => {
    const parts = mergeText(base, mine, theirs);
    assert.equal(isClean(parts) ? parts[0].text : null, want, JSON.stringify(parts));
  });
}

const text = fc.array(fc.constantFrom("", "a", "b", "c", "d", "```", "one two three"), { maxLength: 12 }).map((lines) => lines.join("\n"));

test("with one side unchanged the result is the other", () => {
  fc.assert(
    fc.property(text, text, (base, other) => {
      for (const parts of [mergeText(base, other, base), mergeText(base, base, other)]) assert.deepEqual(parts, [{ text: other }]);
    }),
  );
});

test("the sides of the parts are the sides", () => {
  fc.assert(
    fc.property(text, text, text, (base, mine, theirs) => {
      const parts = mergeText(base, mine, theirs);
      if (isClean(parts)) return;
      const lines = (s: string) => s.split("\n").filter(Boolean).sort();
      const all = parts.map((p) => ("text" in p ? p.text : `${p.theirs}\n${p.yours}\n`)).join("");
      for (const side of [mine, theirs]) {
        for (const line of new Set(lines(side))) {
          if (!base.split("\n").includes(line)) assert.ok(lines(all).includes(line), `${line} of ${JSON.stringify([base, mine, theirs, parts])}`);
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("tags of both, without what either removed", () => {
  assert.deepEqual(mergeTags(["a", "b"], ["a", "c"], ["b", "a", "d"]), ["a", "d", "c"]);
});

test("a megabyte of lines, all changed, merges or clashes soon", () => {
  const lines = (word: string) => Array.from({ length: 40_000 }, (_, n) => `${word} ${n} is a line of some words`).join("\n");
  const began = performance.now();
  mergeText(lines("a"), lines("b"), lines("c"));
  assert.ok(performance.now() - began < 5000);
});
