#!/usr/bin/env bash
# Software: micromark 4.0.3 with decode-named-character-reference 1.2.0, bundled by esbuild 0.28.2 (npm).
# Expected: a Markdown parser that makes a string from a string, bundled for browsers, runs in a Web
#   Worker as well as in a page.
# What happens: the bundle fails when it is loaded: "document is not defined". Bundlers take the
#   "browser" export of decode-named-character-reference, which decodes with an element of the page.
#   A package has another export for workers, which bundlers take only if they are told so.
# Who meets it: editors and note apps that render the preview in a worker.
# What to do: bundle workers apart, with the condition "worker" (esbuild: --conditions=worker).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >work.js <<'JS'
import { micromark } from "micromark";
postMessage(micromark("bread &amp; butter"));
JS
cat >main.cjs <<'JS'
// Runs a script with the globals that a Web Worker and a page have in common.
const vm = require("node:vm");
const fs = require("node:fs");
const got = [];
try {
  vm.runInNewContext(fs.readFileSync(process.argv[2], "utf8"), { postMessage: (m) => got.push(m), console, TextEncoder, TextDecoder });
  console.log(got.join());
} catch (e) {
  console.log(e.name + ": " + e.message);
}
JS
npm install --silent --no-save micromark@4.0.3 decode-named-character-reference@1.2.0 esbuild@0.28.2 >/dev/null 2>&1
npx esbuild work.js --bundle --platform=browser --format=iife --outfile=plain.js --log-level=error
npx esbuild work.js --bundle --platform=browser --format=iife --conditions=worker --outfile=worker.js --log-level=error
seen="for browsers: $(node main.cjs plain.js)
with the condition worker: $(node main.cjs worker.js)"
echo 'software: micromark 4.0.3, decode-named-character-reference 1.2.0, esbuild 0.28.2'
echo 'expected: <p>bread &amp; butter</p> from both'
echo 'seen:'
echo "$seen"
if [[ $seen == 'for browsers: ReferenceError: document is not defined
with the condition worker: <p>bread &amp; butter</p>' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: micromark no longer behaves as described above.'
	exit 1
fi
