#!/usr/bin/env bash
# Software: git merge-file, git 2.39.5 (Debian 12).
# Expected: two devices append the same line, one of them without a final newline. The texts are
#   equal line by line, so the merge is clean, or the conflict shows what differs.
# What happens: it is a conflict whose two sides are the same text, since the marker supplies the
#   newline that is missing. With --union the line is there twice, and the exit status is 0.
# Who meets it: notes more than program text: some editors leave the final newline out, others add
#   it, and two devices do write the same entry (a shopping item, a line in a daily log).
# What to do: take the final newline off before the merge and merge it as a value of its own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

printf 'milk\n' >base
printf 'milk\nbread' >phone
printf 'milk\nbread\n' >desk

merge() { # the options; prints the result on one line with the exit status
	local out status=0
	out=$(git merge-file -p "$@" phone base desk 2>/dev/null | tr '\n' '|'; exit "${PIPESTATUS[0]}") ||
		status=$?
	echo "$out exit $status"
}
plain=$(merge)
union=$(merge --union)

echo "software: $(git --version)"
echo 'expected: milk|bread| once, or a conflict that shows a difference'
echo "seen:              $plain"
echo "seen with --union: $union"
if [[ $plain == 'milk|<<<<<<< phone|bread|=======|bread|>>>>>>> desk| exit 1' &&
	$union == 'milk|bread|bread| exit 0' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: git merge-file no longer behaves as described above.'
	exit 1
fi
