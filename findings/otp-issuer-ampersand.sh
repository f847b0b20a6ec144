#!/usr/bin/env bash
# Software: github.com/pquerna/otp v1.5.0 (Go).
# Expected: the address of a key, which becomes the QR code, carries the issuer that was given.
# What happens: the query is escaped by a function of the library that leaves & and + alone. The
#   issuer "Ada & Bob" becomes issuer=Ada%20&%20Bob, which a reader takes for "Ada "; "C+C" becomes
#   "C C". The label before the question mark has the whole name, so that the two disagree.
# Who meets it: a self-hosted service whose name is a setting.
# What to do: refuse & and + in the issuer, or write the query with url.QueryEscape and each + in
#   its result replaced by %20: readers such as npm otpauth 9.5.2 take a + for a plus, not for a
#   blank.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"net/url"

	"github.com/pquerna/otp/totp"
)

func main() {
	for _, issuer := range []string{"Our notes", "Ada & Bob", "C+C"} {
		key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: "eve", Secret: make([]byte, 20)})
		if err != nil {
			panic(err)
		}
		address, err := url.Parse(key.URL())
		if err != nil {
			panic(err)
		}
		fmt.Printf("%q: label %q, issuer %q\n", issuer, address.Path, address.Query().Get("issuer"))
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/pquerna/otp@v1.5.0 >/dev/null 2>&1
seen=$(go run .)

echo 'software: pquerna/otp v1.5.0'
echo 'expected: the issuer in both places'
echo 'seen:'
echo "$seen"
if [[ $seen == '"Our notes": label "/Our notes:eve", issuer "Our notes"
"Ada & Bob": label "/Ada & Bob:eve", issuer "Ada "
"C+C": label "/C+C:eve", issuer "C C"' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: pquerna/otp no longer behaves as described above.'
	exit 1
fi
