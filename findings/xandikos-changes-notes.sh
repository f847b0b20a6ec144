#!/usr/bin/env bash
# Software: Xandikos 0.2.8 with python3-icalendar 4.0.3 (Debian 12, package xandikos).
# Expected: a CalDAV server gives back the journal entry that was put. If it changes it, the
#   answer to PUT has no ETag (RFC 4791, 5.3.4), so that the client fetches it again.
# What happens: the entry is taken apart and written anew, and what was escaped is not escaped
#   again. C:\\new, which means C:\new, is stored as C:\new, which means C:, a line break and ew.
#   The category "home, office" becomes two. The ETag of the changed text is in the answer to PUT,
#   so the client holds that its own text is on the server; the other devices have another one.
# Who meets it: notes and tasks with backslashes (paths, formulas, regular expressions) or with
#   commas in tags, from jtx Board, Evolution or a bridge of one's own.
# What to do: read each entry back after PUT and compare; no commas in tags; a newer server.
set -euo pipefail
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
command -v xandikos >/dev/null || apt-get install -y -qq --no-install-recommends xandikos >/dev/null

cat >port.js <<'JS'
const server = require('node:net').createServer().listen(0, '127.0.0.1', () => {
  console.log(server.address().port)
  server.close()
})
JS
port=$(node port.js)
HOME=$dir xandikos -d store -l 127.0.0.1 -p "$port" --defaults --current-user-principal /me >log 2>&1 &
pids+=($!)
for _ in $(seq 100); do curl -s -o /dev/null "http://127.0.0.1:$port/" && break; sleep 0.1; done

printf '%s\r\n' BEGIN:VCALENDAR VERSION:2.0 PRODID:-//notes//EN BEGIN:VJOURNAL UID:1 DTSTAMP:20240115T090000Z \
	'DESCRIPTION:moved to C:\\new' 'CATEGORIES:home\, office,work' END:VJOURNAL END:VCALENDAR >note.ics
url=http://127.0.0.1:$port/me/calendars/calendar/note.ics
put=$(curl -s -X PUT -H 'Content-Type: text/calendar' --data-binary @note.ics -D - -o /dev/null "$url")
get=$(curl -s -D - "$url")
etag() { tr -d '\r' <<<"$1" | sed -n 's/^ETag: //Ip'; }
lines() { tr -d '\r' <<<"$1" | grep -E '^(DESCRIPTION|CATEGORIES)' | sort; }
same=no
[[ -n $(etag "$put") && $(etag "$put") == "$(etag "$get")" ]] && same=yes
seen="put:
$(lines "$(cat note.ics)")
got:
$(lines "$get")
ETag of PUT is that of GET: $same"

echo 'software: Xandikos 0.2.8'
echo 'expected: the same lines twice, or no ETag in the answer to PUT'
echo 'seen:'
echo "$seen"
if [[ $seen == 'put:
CATEGORIES:home\, office,work
DESCRIPTION:moved to C:\\new
got:
CATEGORIES:home, office,work
DESCRIPTION:moved to C:\new
ETag of PUT is that of GET: yes' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Xandikos no longer behaves as described above.'
	exit 1
fi
