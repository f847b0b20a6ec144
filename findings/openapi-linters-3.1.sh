#!/usr/bin/env bash
# Software: @redocly/cli 2.77.0, @stoplight/spectral-cli 6.16.3 (npm), with the rules that each
#   recommends.
# Expected: both say that a schema's `examples` and `default` are not of its type, and both accept a
#   keyword of one's own: in OpenAPI 3.1 a schema may have any, without x- (Schema Object,
#   "additional properties MAY omit the x- prefix within this object").
# What happens: Redocly passes over a wrong `default` and Spectral over wrong `examples`, which 3.1
#   recommends over `example`. Redocly refuses a document with `markdownDescription`, which editors
#   show, as an error.
# Who meets it: whoever has one of the two in CI and believes the examples checked; whoever takes
#   schemas over from JSON Schema.
# What to do: run both, or compile the schemas and check the examples in a test; x- before keywords
#   of one's own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts @redocly/cli@2.77.0 @stoplight/spectral-cli@6.16.3
echo 'extends: ["spectral:oas"]' >.spectral.yaml

document() { # document NAME PROPERTY
	cat >"$1.yaml" <<YAML
openapi: 3.1.0
info: {title: notes, version: "1", license: {name: MIT, identifier: MIT}}
servers: [{url: /}]
security: []
paths:
  /note:
    get:
      operationId: note
      summary: a note
      responses:
        "200":
          description: the note
          content: {application/json: {schema: {\$ref: "#/components/schemas/Note"}}}
        "400": {description: no note}
components:
  schemas:
    Note:
      type: object
      properties:
        pages: $2
YAML
}
document right '{type: integer, examples: [1], default: 1}'
document examples '{type: integer, examples: [many]}'
document default '{type: integer, default: many}'
document keyword '{type: integer, markdownDescription: "*pages*"}'

seen=$(for name in right examples default keyword; do
	redocly=$(npx redocly lint "$name.yaml" --format=json 2>/dev/null | grep -oE '"ruleId": *"(no-invalid-[a-z-]*|struct)"' | grep -oE '(no-invalid-[a-z-]*|struct)' | head -1 || true)
	spectral=$(npx spectral lint "$name.yaml" 2>/dev/null | grep -oE 'oas3-valid-[a-z-]*|oas3-schema' | head -1 || true)
	echo "$name: Redocly ${redocly:-nothing}, Spectral ${spectral:-nothing}"
done)

echo 'software: @redocly/cli 2.77.0, @stoplight/spectral-cli 6.16.3'
echo 'expected: both nothing for right and keyword, both something for examples and default'
echo 'seen:'
echo "$seen"
if [[ $seen == 'right: Redocly nothing, Spectral nothing
examples: Redocly no-invalid-schema-examples, Spectral nothing
default: Redocly nothing, Spectral oas3-valid-schema-example
keyword: Redocly struct, Spectral nothing' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the linters no longer behave as described above.'
	exit 1
fi
