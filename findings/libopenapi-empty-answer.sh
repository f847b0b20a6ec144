#!/usr/bin/env bash
# Software: github.com/pb33f/libopenapi-validator v0.16.3 (Go).
# Expected: an answer without a body is refused where the document wants an object with members that
#   are required; `secret: false` in a schema means that no answer may have a member secret.
# What happens: both pass. A request without its body is refused, so one expects the same of answers.
# Who meets it: contract tests: a handler that sets the status and the type and forgets to write is
#   taken for right, and a member that must never leave the server is let out.
# What to do: fail on an empty body yourself; `secret: {not: {}}`, or additionalProperties: false.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
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
          content:
            application/json:
              schema:
                type: object
                required: [title]
                properties:
                  title: {type: string}
                  secret: false
                  password: {not: {}}
`

func main() {
	doc, err := libopenapi.NewDocument([]byte(document))
	if err != nil {
		panic(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		panic(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		panic(errs)
	}
	for _, answer := range []string{`{"title":"a"}`, `{}`, ``, `{"title":"a","secret":"b"}`, `{"title":"a","password":"b"}`} {
		w := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer))}
		ok, _ := v.ValidateHttpResponse(httptest.NewRequest("GET", "/note", nil), w)
		fmt.Printf("%q valid %t\n", answer, ok)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/pb33f/libopenapi-validator@v0.16.3 >/dev/null 2>&1
go get github.com/pb33f/libopenapi@v0.41.8 >/dev/null 2>&1
seen=$(go run .)

echo 'software: libopenapi-validator v0.16.3'
echo 'expected: valid true, then four times false'
echo 'seen:'
echo "$seen"
if [[ $seen == '"{\"title\":\"a\"}" valid true
"{}" valid false
"" valid true
"{\"title\":\"a\",\"secret\":\"b\"}" valid true
"{\"title\":\"a\",\"password\":\"b\"}" valid false' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: libopenapi-validator no longer behaves as described above.'
	exit 1
fi
