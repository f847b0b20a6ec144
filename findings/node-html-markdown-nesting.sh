#!/usr/bin/env bash
# Software: node-html-markdown 2.0.0 (npm), read by micromark 4.0.3.
# Expected: what is nested stays nested, code stays code, a link stays a link.
# What happens: a list inside a numbered item is indented by two columns where Markdown asks for
#   three: it joins the outer list. A code block inside an item is not indented at all, so that it
#   ends the list, and each of its lines gains two blanks at the end. The target of a link or
#   picture with a blank in it is written bare, so that the link is text.
# Who meets it: importers that take it for its speed: recipes, instructions and attachments are full
#   of the three.
# What to do: encode blanks in href and src before; for lists in lists and code in lists take
#   turndown 7.2.5 or rehype-remark 10.0.1, which keep both.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts node-html-markdown@2.0.0 micromark@4.0.3
cat >run.mjs <<'JS'
import { NodeHtmlMarkdown } from 'node-html-markdown'
import { micromark } from 'micromark'
for (const html of [
  '<ol><li>boil<ol><li>water</li></ol></li></ol>',
  '<ul><li>run<pre><code>make\n  all</code></pre></li></ul>',
  '<p><a href="my plan.pdf">plan</a></p>',
]) {
  const markdown = NodeHtmlMarkdown.translate(html)
  console.log(JSON.stringify(markdown), 'is', micromark(markdown).replace(/\s*\n\s*/g, ' ').trim())
}
JS
seen=$(node run.mjs)

echo 'software: node-html-markdown 2.0.0, micromark 4.0.3'
echo 'expected: a list in a list; an item with the code; a link'
echo 'seen:'
echo "$seen"
if [[ $seen == '"1. boil\n  1. water" is <ol> <li>boil</li> <li>water</li> </ol>
"* run  \n```  \nmake  \n  all  \n```" is <ul> <li>run</li> </ul> <pre><code>make all </code></pre>
"[plan](my plan.pdf)" is <p>[plan](my plan.pdf)</p>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: node-html-markdown no longer behaves as described above.'
	exit 1
fi
