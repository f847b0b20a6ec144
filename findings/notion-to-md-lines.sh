#!/usr/bin/env bash
# Software: notion-to-md 3.1.9 (npm), the blocks of Notion's API to Markdown.
# Expected: Markdown that shows what the page shows.
# What happens: text is written as it is. A paragraph that begins with # is a heading, <b> is bold, a
#   code block with a fence in it ends there. The second line of an item or a heading (Shift+Enter)
#   leaves it.
# Who meets it: people who take notes out of Notion; the structure changes without a word.
# What to do: a custom transformer for each of these block types that escapes and indents.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts notion-to-md@3.1.9 micromark@4.0.3
cat >run.mjs <<'JS'
import { micromark } from "micromark";
import { NotionToMarkdown } from "notion-to-md";

const plain = { bold: false, italic: false, strikethrough: false, underline: false, code: false, color: "default" };
const text = (content, marks) =>
  ({ type: "text", text: { content, link: null }, annotations: { ...plain, ...marks }, plain_text: content, href: null });
const block = (type, rich_text, more) => ({ object: "block", id: type, type, has_children: false, [type]: { rich_text, ...more } });

const converter = new NotionToMarkdown({ notionClient: {} });
for (const page of [
  block("paragraph", [text("# 1 in the list")]),
  block("bulleted_list_item", [text("milk\n> two litres")]),
  block("heading_1", [text("Plan\nfor May")]),
  block("code", [text("a\n```\nb")], { language: "plain text", caption: [] }),
]) {
  const markdown = converter.toMarkdownString(await converter.blocksToMarkdown([page])).parent.trim();
  console.log(page.type + ":", JSON.stringify(markdown), "->", JSON.stringify(micromark(markdown)));
}
JS
seen=$(node run.mjs)
echo 'software: notion-to-md 3.1.9, shown by micromark 4.0.3'
echo 'expected: a paragraph, one item, one heading, one block of code'
echo 'seen:'
echo "$seen"
if [[ $seen == *'-> "<h1>1 in the list</h1>"'* && $seen == *'</ul>\n<blockquote>'* && $seen == *'<h1>Plan</h1>\n<p>for May</p>'* &&
	$seen == *'</code></pre>\n<p>b</p>\n<pre>'* ]]; then
	echo 'As described.'
else
	echo 'CHANGED: notion-to-md no longer behaves as described above.'
	exit 1
fi
