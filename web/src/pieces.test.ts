import assert from "node:assert/strict";
import { test } from "node:test";
import { micromark } from "micromark";
import { gfm, gfmHtml } from "micromark-extension-gfm";
import { render } from "./pieces.ts";

// A text in pieces is what it is as a whole, and each box knows where it stands.
for (const [name, text, least] of [
  ["prose with a definition", "## Words with a [link][x]\n\nand **more**\n\n".repeat(120) + "[x]: https://example.com\n", 2],
  ["boxes", "- [ ] buy something\n  - [x] of something else\n".repeat(200), 3],
  ["a loose list", "- one\n\n- two\n\n".repeat(650), 3],
  ["numbers", "1. one\n".repeat(1200), 1],
  ["HTML around blocks", ("<details>\n\n" + "words\n\n".repeat(300) + "</details>\n\n").repeat(3), 3],
  ["footnotes", "words[^1]\n\n".repeat(300) + "[^1]: a note\n", 1],
  ["CR LF and tabs", "\tcode\r\n\r\n- [ ]\tbox\r\n\r\nwords\r\n\r\n".repeat(150), 2],
  ["nothing", "", 1],
] as const) {
  test(name, () => {
    const pieces = render(text);
    assert.ok(pieces.length >= least, `${pieces.length} pieces`);
    assert.equal(pieces.reduce((sum, piece) => sum + piece.length, 0), text.length);
    const plain = (html: string) => html.replace(/ data-at="\d+"| disabled=""/g, "").replace(/\s+/g, " ").replace(/> </g, "><").replaceAll("</ul><ul>", "");
    const whole = micromark(text, { allowDangerousHtml: true, extensions: [gfm()], htmlExtensions: [gfmHtml()] });
    assert.equal(plain(pieces.map((piece) => piece.html).join("\n")), plain(whole));
    let [at, boxes] = [0, 0];
    for (const { html, length } of pieces) {
      for (const [, place] of html.matchAll(/data-at="(\d+)"/g)) {
        assert.match(text.slice(at + Number(place), at + Number(place) + 3), /^\[[ x]\]$/);
        boxes++;
      }
      at += length;
    }
    assert.equal(boxes, [...text.matchAll(/- \[[ x]\]\s/g)].length);
  });
}
