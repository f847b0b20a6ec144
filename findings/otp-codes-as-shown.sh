#!/usr/bin/env bash
# Software: github.com/pquerna/otp v1.5.0 (Go); otpauth 9.5.2, otplib 12.0.1, speakeasy 2.0.0 (npm).
# Expected: a one-time code is valid as authenticator apps show it, in two groups: "123 456".
# What happens: all four refuse it. Only pquerna/otp cuts blanks off the ends; the others refuse a
#   code with a blank behind it, too.
# Who meets it: people who copy or type the code with the blank that they see. The answer is that the
#   code is wrong, so they look at their clock.
# What to do: remove white space before the library sees the code.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >main.go <<'GO'
package main

import (
	"fmt"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

func main() {
	const key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	at := time.Unix(1800000000, 0)
	code, err := totp.GenerateCode(key, at)
	if err != nil {
		panic(err)
	}
	valid := func(code string) bool {
		ok, _ := totp.ValidateCustom(code, key, at, totp.ValidateOpts{Period: 30, Skew: 1, Digits: otp.DigitsSix})
		return ok
	}
	fmt.Println("pquerna/otp:", valid(code), valid(code[:3]+" "+code[3:]), valid(code+" "))
}
GO
cat >main.mjs <<'JS'
import * as otpauth from "otpauth";
import otplib from "otplib";
import speakeasy from "speakeasy";

const secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const shown = (name, code, valid) => {
  const all = [code, code.slice(0, 3) + " " + code.slice(3), code + " "];
  console.log(name + ":", ...all.map(valid));
};
const totp = new otpauth.TOTP({ secret });
shown("otpauth", totp.generate(), (token) => totp.validate({ token }) !== null);
shown("otplib", otplib.authenticator.generate(secret), (token) => otplib.authenticator.check(token, secret));
const base = { secret, encoding: "base32", window: 1 };
shown("speakeasy", speakeasy.totp(base), (token) => speakeasy.totp.verify({ ...base, token }));
JS
go mod init finding >/dev/null 2>&1
go get github.com/pquerna/otp@v1.5.0 >/dev/null 2>&1
npm install --silent --no-save otpauth@9.5.2 otplib@12.0.1 speakeasy@2.0.0 >/dev/null 2>&1
seen=$(go run . && node main.mjs)
echo 'software: pquerna/otp v1.5.0, otpauth 9.5.2, otplib 12.0.1, speakeasy 2.0.0'
echo 'expected: true for "123456", for "123 456" and for "123456 "'
echo 'seen:'
echo "$seen"
if [[ $seen == 'pquerna/otp: true false true
otpauth: true false false
otplib: true false false
speakeasy: true false false' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: the libraries no longer behave as described above.'
	exit 1
fi
