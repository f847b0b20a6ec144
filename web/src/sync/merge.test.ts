import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
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

test("it merges as the server does", () => {
  type Part = { Clash: boolean; Text: string; Base: string; Ours: string; Theirs: string };
  const { RUNS, SEED } = process.env;
  const printed = execFileSync("go", ["run", "./merge/cases", SEED ?? "1", RUNS ?? "3000"], { cwd: "..", maxBuffer: 1 << 30 });
  const cases = JSON.parse(printed.toString()) as { base: string; ours: string; theirs: string; parts: Part[] | null }[];
  let clashes = 0;
  for (const { base, ours, theirs, parts } of cases) {
    const want = (parts ?? []).map((p) => (p.Clash ? { base: p.Base, theirs: p.Ours, yours: p.Theirs } : { text: p.Text }));
    assert.deepEqual(mergeText(base, theirs, ours), want.length ? want : [{ text: "" }], JSON.stringify({ base, ours, theirs }));
    if (parts?.some((p) => p.Clash)) clashes++;
  }
  assert.ok(clashes > cases.length / 10 && clashes < cases.length / 2, `${clashes} clashes`);
});

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
  const before = process.cpuUsage();
  mergeText(lines("a"), lines("b"), lines("c"));
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 5e6, `${user + system} µs`);
});
