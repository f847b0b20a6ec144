#!/usr/bin/env bash
# Software: Zim 0.75.1 (Debian 12, package zim 0.75.1-1); micromark 4.0.3 with GFM (npm) shows its export.
# Expected: an export as Markdown is the page: boxes are tasks, marked text is marked, text is text.
# What happens: boxes become the signs ☐ ☑ ☒ in a plain list, which no program can tick. Marked text
#   becomes __text__, which is bold. Text is not escaped: a line that begins with # is a heading and
#   2*3*4 has an italic 3.
# Who meets it: people who move from Zim to an app that keeps Markdown: their tasks are gone from every
#   list of tasks.
# What to do: read Zim's own text, where boxes are "[ ]", "[*]" and "[x]"; or replace the three signs
#   after the export.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
command -v zim >/dev/null || apt-get install -y -qq --no-install-recommends zim >/dev/null
export HOME=$dir XDG_RUNTIME_DIR=$dir

mkdir notebook
printf '[Notebook]\nversion=0.4\nname=notebook\n' >notebook/notebook.zim
cat >notebook/Home.txt <<'TXT'
Content-Type: text/x-zim-wiki
Wiki-Format: zim 0.6

====== Home ======
[ ] milk
[*] tea
[x] salt

__important__

# 1 in the list

2*3*4
TXT
zim --export --format=markdown --output="$dir/out" "$dir/notebook" >/dev/null 2>&1
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts micromark@4.0.3 micromark-extension-gfm@3.0.0
cat >run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { micromark } from "micromark";
import { gfm, gfmHtml } from "micromark-extension-gfm";
const text = readFileSync("out/Home.md", "utf8");
console.log(micromark(text, { extensions: [gfm()], htmlExtensions: [gfmHtml()] }));
JS
seen=$(node run.mjs)
echo "software: Zim $(dpkg-query -W -f '${Version}' zim), micromark 4.0.3"
echo 'expected: three boxes, one heading, nothing bold or italic'
echo 'seen:'
echo "$seen"
if [[ $seen == *'<li>☐ milk</li>'*'<li>☑ tea</li>'*'<li>☒ salt</li>'* && $seen == *'<strong>important</strong>'* &&
	$seen == *'<h1>1 in the list</h1>'* && $seen == *'2<em>3</em>4'* ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Zim no longer behaves as described above.'
	exit 1
fi
