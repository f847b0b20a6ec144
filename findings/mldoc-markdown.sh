#!/usr/bin/env bash
# Software: mldoc 1.6.0 (npm), the reader of Logseq; micromark 4.0.3 with micromark-extension-gfm 3.0.0
#   for comparison.
# Expected: Markdown that another program wrote means the same to Logseq.
# What happens: four things that CommonMark and GFM define mean something else.
#   - [ ] and [x] are boxes behind `*`, `+` and `1.`, and plain text behind `-`, the usual bullet.
#   - Brackets that are escaped, \[as here\], as writers of Markdown do, are a formula.
#   - An escaped bar, or one in code, ends a table's cell all the same: the row has one cell more.
#   - Four backticks open a block that the three within close: the code is text, and the rest code.
# Who meets it: people who take their notes to Logseq as Markdown files.
# What to do: write boxes behind `*`, leave brackets unescaped where no link follows, write &#124; for a bar
#   in a table, and fence code that holds a fence by tildes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts mldoc@1.6.0 micromark@4.0.3 micromark-extension-gfm@3.0.0
cat >run.mjs <<'JS'
import { createRequire } from "node:module";
import { micromark } from "micromark";
import { gfm, gfmHtml } from "micromark-extension-gfm";
const { Mldoc } = createRequire(import.meta.url)("mldoc");

const config = JSON.stringify({
  toc: false, heading_number: false, keep_line_break: true, format: "Markdown", parse_outline_only: false,
  export_md_remove_options: [], hiccup_in_block: true, enable_drawers: true, heading_to_list: false,
  inline_type_with_pos: false,
});
const logseq = (text) => JSON.parse(Mldoc.parseJson(text, config)).map(([block]) => block);
const html = (text) => micromark(text, { extensions: [gfm()], htmlExtensions: [gfmHtml()] });

const box = (text) => {
  const [kind, body] = logseq(text)[0];
  return kind === "List" ? body[0].checkbox : body.title[0][1];
};
console.log("boxes:", box("- [x] done\n"), "|", box("* [x] done\n"), "|", box("1. [x] done\n"));
console.log("brackets:", JSON.stringify(logseq("see \\[1\\]\n")[0][1][1]), "|", html("see \\[1\\]"));
const row = "| a | b |\n|---|---|\n| 1 \\| 2 | 3 |\n";
console.log("cells:", logseq(row)[0][1].groups[0][0].length, "|", html(row).split("<td>").length - 1);
const code = "````md\n```\nx\n```\n````\n";
console.log("code:", logseq(code).map(([kind]) => kind).join(" "), "|", html(code).split("<pre>").length - 1);
JS
seen=$(node run.mjs)
echo 'software: mldoc 1.6.0, micromark 4.0.3'
echo 'expected: three boxes; no formula; two cells; one block of code'
echo 'seen:'
echo "$seen"
if [[ $seen == 'boxes: [x] done | true | true
brackets: ["Latex_Fragment",["Displayed","1"]] | <p>see [1]</p>
cells: 3 | 2
code: Src Paragraph Src | 1' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: mldoc no longer behaves as described above.'
	exit 1
fi
