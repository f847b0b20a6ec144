#!/usr/bin/env bash
# Software: turndown 7.2.5, rehype-remark 10.0.1 (with rehype-parse 9.0.1, remark-gfm 4.0.1, remark-stringify
#   11.0.0), html-to-md 0.8.8, node-html-markdown 2.0.0 (npm).
# Expected: what is copied in Google Docs or VS Code and pasted keeps paragraphs, emphasis and indentation.
# What happens: Google Docs wraps all that it copies in <b style="font-weight:normal"> and writes bold
#   text as a span with font-weight:700. All four put ** around the whole, over paragraphs and lists, and
#   the word that was bold is not. VS Code writes a line of code as a <div> in one with white-space:pre:
#   all four drop the indentation, so pasted Python or YAML means something else.
# Who meets it: everybody who pastes into an editor of Markdown that uses one of these.
# What to do: before the conversion replace a <b> or <strong> of normal weight by its children, make
#   <strong> and <em> of spans by their style, and <pre> of what has white-space:pre.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts turndown@7.2.5 unified@11.0.5 rehype-parse@9.0.1 rehype-remark@10.0.1 \
	remark-gfm@4.0.1 remark-stringify@11.0.0 html-to-md@0.8.8 node-html-markdown@2.0.0
cat >run.mjs <<'JS'
import htmlToMd from "html-to-md";
import { NodeHtmlMarkdown } from "node-html-markdown";
import rehypeParse from "rehype-parse";
import rehypeRemark from "rehype-remark";
import remarkGfm from "remark-gfm";
import remarkStringify from "remark-stringify";
import Turndown from "turndown";
import { unified } from "unified";

const rehype = unified().use(rehypeParse, { fragment: true }).use(rehypeRemark).use(remarkGfm).use(remarkStringify);
const turndown = new Turndown();
const libraries = {
  turndown: (html) => turndown.turndown(html),
  "rehype-remark": (html) => String(rehype.processSync(html)),
  "html-to-md": (html) => htmlToMd(html),
  "node-html-markdown": (html) => NodeHtmlMarkdown.translate(html),
};
const docs =
  '<b style="font-weight:normal;" id="docs-internal-guid-1"><p dir="ltr"><span style="font-weight:400">Buy </span>' +
  '<span style="font-weight:700">tea</span></p><ul><li dir="ltr"><p dir="ltr"><span>green</span></p></li></ul></b>';
const code = '<div style="white-space: pre;"><div><span>def a():</span></div><div><span>    return 1</span></div></div>';
for (const [name, convert] of Object.entries(libraries)) {
  console.log(name + ":", JSON.stringify(convert(docs).trim()), "|", JSON.stringify(convert(code).trim()));
}
JS
seen=$(node run.mjs)
echo 'software: turndown 7.2.5, rehype-remark 10.0.1, html-to-md 0.8.8, node-html-markdown 2.0.0'
echo 'expected: only "tea" is bold, and "return" has its four blanks'
echo 'seen:'
echo "$seen"
if [[ $(grep -c ': "\*\*' <<<"$seen") == 4 && $seen != *'**tea**'* && $seen != *'    return'* ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the libraries no longer behave as described above.'
	exit 1
fi
