#!/usr/bin/env bash
# Software: GNU diff3 3.8 (Debian 12, package diffutils).
# Expected: "-X: like -x, but bracket conflicts", as --help and the manual say. So `diff3 -m -X`
#   should print both sides of an overlap between markers and exit 1, as `diff3 -m -E` does.
# What happens: -X prints what -x prints. With -m the third file's lines replace the first file's
#   lines, there is no marker, and the exit status is 0: one side's edit is gone in silence.
# Who meets it: a script that merges notes and wants markers for overlaps only.
# What to do: use -E (or -A) with -m. Take an exit status of 0 for a clean merge with these only.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
command -v diff3 >/dev/null || apt-get install -y -qq --no-install-recommends diffutils >/dev/null

printf 'call\nmail\nwrite\n' >base
printf 'call\nmail Ada\nwrite\n' >ours
printf 'call\nmail Bob\nwrite\n' >theirs

merge() { # the options; prints the result on one line with the exit status
	local out status=0
	out=$(diff3 -m "$@" ours base theirs | tr '\n' '|'; exit "${PIPESTATUS[0]}") || status=$?
	echo "$out exit $status"
}
bracketed=$(merge -E)
unbracketed=$(merge -X)

echo "software: $(diff3 --version | head -1)"
echo 'expected: -m -X marks the overlap and exits 1, as -m -E does'
echo "seen with -E: $bracketed"
echo "seen with -X: $unbracketed"
if [[ $bracketed == 'call|<<<<<<< ours|mail Ada|=======|mail Bob|>>>>>>> theirs|write| exit 1' &&
	$unbracketed == 'call|mail Bob|write| exit 0' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: diff3 no longer behaves as described above.'
	exit 1
fi
