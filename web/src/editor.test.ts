import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { difference, withValue } from "./editor.ts";

const text = fc.array(fc.constantFrom("a", "b", "\n", "\r\n", "\r", "é", "😀")).map((parts) => parts.join(""));
const valueOf = (raw: string) => raw.replace(/\r\n?/g, "\n"); // what a textarea makes of a text

test("a difference turns one text into the other", () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      const { from, to, insert } = difference(a, b);
      assert.equal(a.slice(0, from) + insert + a.slice(to), b);
    }),
  );
});

test("an edit in a textarea leaves the ends of the other lines as they are", () => {
  fc.assert(
    fc.property(text, fc.nat(), fc.nat(), fc.constantFrom("", "x", "x\ny"), (raw, i, j, insert) => {
      const value = valueOf(raw);
      const [from, to] = [i % (value.length + 1), j % (value.length + 1)].sort((a, b) => a - b) as [number, number];
      const typed = value.slice(0, from) + insert + value.slice(to);
      const result = withValue(raw, typed);
      assert.equal(valueOf(result), typed);
      if (typed === value) assert.equal(result, raw);
    }),
  );
  assert.equal(withValue("a\r\nb\r\nc", "a\nbx\nc"), "a\r\nbx\r\nc");
  assert.equal(withValue("a\rb\nc", "a\nb\nc!"), "a\rb\nc!");
});
