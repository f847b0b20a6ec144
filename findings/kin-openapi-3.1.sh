#!/usr/bin/env bash
# Software: github.com/getkin/kin-openapi v0.153.0 (Go), openapi3filter.
# Expected: a document that goes from `openapi: 3.0.3` to `3.1.0` without another change is enforced
#   as before: readOnly, writeOnly and default mean the same in both versions.
# What happens: under 3.1 another validator is used, which takes the three for annotations. A
#   request with a readOnly property passes, an answer with a writeOnly one (a secret) passes, and a
#   body is no longer filled with the defaults.
# Who meets it: whoever has contract tests on kin-openapi and moves to 3.1: all stay green.
# What to do: test what must not leave the server without the library; give requests and answers
#   schemas of their own, with additionalProperties: false.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

const document = `
openapi: VERSION
info: {title: notes, version: "1"}
paths:
  /notes:
    post:
      requestBody:
        content: {application/json: {schema: {$ref: "#/components/schemas/Note"}}}
      responses:
        "200":
          description: the note
          content: {application/json: {schema: {$ref: "#/components/schemas/Note"}}}
components:
  schemas:
    Note:
      type: object
      properties:
        id: {type: integer, readOnly: true}
        secret: {type: string, writeOnly: true}
        color: {type: string, default: white}
`

func main() {
	ctx := context.Background()
	for _, version := range []string{"3.0.3", "3.1.0"} {
		doc, err := openapi3.NewLoader().LoadFromData([]byte(strings.Replace(document, "VERSION", version, 1)))
		if err != nil {
			panic(err)
		}
		router, err := gorillamux.NewRouter(doc)
		if err != nil {
			panic(err)
		}
		request := func(body string) (*openapi3filter.RequestValidationInput, error) {
			r, _ := http.NewRequest(http.MethodPost, "/notes", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			route, params, err := router.FindRoute(r)
			if err != nil {
				panic(err)
			}
			in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
			return in, openapi3filter.ValidateRequest(ctx, in)
		}
		_, readOnly := request(`{"id":1}`)
		in, _ := request(`{}`)
		filled, _ := io.ReadAll(in.Request.Body)
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: 200,
			Header: http.Header{"Content-Type": {"application/json"}}}
		out.SetBodyBytes([]byte(`{"secret":"x"}`))
		writeOnly := openapi3filter.ValidateResponse(ctx, out)
		fmt.Printf("%s: readOnly refused %t, writeOnly refused %t, body %s\n",
			version, readOnly != nil, writeOnly != nil, filled)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/getkin/kin-openapi/{openapi3,openapi3filter,routers/gorillamux}@v0.153.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: kin-openapi v0.153.0'
echo 'expected: two equal lines'
echo 'seen:'
echo "$seen"
if [[ $seen == '3.0.3: readOnly refused true, writeOnly refused true, body {"color":"white"}
3.1.0: readOnly refused false, writeOnly refused false, body {}' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: kin-openapi no longer behaves as described above.'
	exit 1
fi
