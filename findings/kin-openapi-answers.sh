#!/usr/bin/env bash
# Software: github.com/getkin/kin-openapi v0.153.0 (Go), openapi3filter.ValidateResponse.
# Expected: an answer that is not what the document says is refused.
# What happens: two JSON values, one after the other, are a valid answer: the second is not read.
#   Under openapi 3.1 `const: null` allows everything.
# Who meets it: contract tests. A handler that writes an error and goes on, the commonest mistake
#   in net/http, answers `{"error":…}{"success":…}`, and the tests stay green.
# What to do: check the answer with json.Valid as well, which knows its end; `type: "null"` instead
#   of a const.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

const document = `
openapi: 3.1.0
info: {title: notes, version: "1"}
paths:
  /note:
    get:
      responses:
        "200":
          description: an answer
          content: {application/json: {schema: SCHEMA}}
`

func main() {
	ctx := context.Background()
	for _, row := range []struct{ schema, answer string }{
		{`{type: object, properties: {error: {type: string}}, additionalProperties: false}`, `{"error":"no"}{"success":true}`},
		{`{type: object, properties: {trashedAt: {const: null}}}`, `{"trashedAt":"yesterday"}`},
		{`{type: object, properties: {trashedAt: {type: "null"}}}`, `{"trashedAt":"yesterday"}`},
	} {
		doc, err := openapi3.NewLoader().LoadFromData([]byte(strings.Replace(document, "SCHEMA", row.schema, 1)))
		if err != nil {
			panic(err)
		}
		if err := doc.Validate(ctx); err != nil {
			panic(err)
		}
		item := doc.Paths.Value("/note")
		out := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{
				Request: httptest.NewRequest("GET", "/note", nil),
				Route:   &routers.Route{Spec: doc, Path: "/note", PathItem: item, Method: "GET", Operation: item.Get},
			},
			Status: 200, Header: http.Header{"Content-Type": {"application/json"}},
		}
		out.SetBodyBytes([]byte(row.answer))
		fmt.Printf("%s refused %t\n", row.answer, openapi3filter.ValidateResponse(ctx, out) != nil)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/getkin/kin-openapi/{openapi3,openapi3filter,routers}@v0.153.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: kin-openapi v0.153.0'
echo 'expected: refused true, three times'
echo 'seen:'
echo "$seen"
if [[ $seen == '{"error":"no"}{"success":true} refused false
{"trashedAt":"yesterday"} refused false
{"trashedAt":"yesterday"} refused true' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: kin-openapi no longer behaves as described above.'
	exit 1
fi
