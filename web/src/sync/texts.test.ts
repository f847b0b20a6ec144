import assert from "node:assert/strict";
import { test } from "node:test";
import { fold } from "./search.ts";
import { Texts } from "./texts.ts";

test("texts are found by any of the words, also by a search that goes on", () => {
  const texts = new Texts();
  const all = ["a tent for two", "Über tents", "bread", ""];
  for (const [n, text] of all.entries()) assert.equal(texts.set(`id ${n}`, text), n);
  const find = (...words: string[]) => {
    const { numbers, masks } = texts.find(words.map(fold));
    return numbers.map((number, n) => `${number}:${masks[n]}`).join(" ");
  };
  assert.equal(find("te"), "0:1 1:1");
  assert.equal(find("tent", "UBER"), "0:1 1:3");
  assert.equal(find("tents"), "1:1");
  assert.equal(find("bread"), "2:1");
  assert.equal(texts.set("id 1", "bread and tents"), 1);
  assert.equal(find("bread"), "1:1 2:1");
  assert.equal(texts.set("id 2", null), 2);
  assert.equal(find("breads"), "");
  assert.equal(find("bread"), "1:1");
});

test("what is too much to be held is searched elsewhere", () => {
  const texts = new Texts();
  const long = "x".repeat(40_000_000);
  texts.set("a", long);
  texts.set("b", long + "needle");
  assert.deepEqual([...texts.others], [[1, "b"]]);
  texts.set("a", "short");
  texts.set("b", long + "needle");
  assert.deepEqual([...texts.others], []);
  assert.deepEqual(texts.find(["needle"]).numbers, [1]);
});
