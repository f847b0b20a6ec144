#!/bin/sh
# Makes common.txt.gz: the 10 000 most common passwords of at least 8 characters, folded and sorted. They come from the
# list of zxcvbn, which orders 49 233 passwords of leaked databases by how often they occur.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm install --silent --no-save --prefix . @zxcvbn-ts/language-common@4.1.3)
cp "$work/node_modules/@zxcvbn-ts/language-common/LICENSE.txt" LICENSE
(cd "$work" && node -e '
const common = require("@zxcvbn-ts/language-common").dictionary["passwords-common"];
console.log(common.filter(p => [...p].length >= 8).slice(0, 10000).map(p => p.toLowerCase()).join("\n"));
') | LC_ALL=C sort -u | gzip -9n >common.txt.gz
