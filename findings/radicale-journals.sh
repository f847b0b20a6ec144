#!/usr/bin/env bash
# Software: Radicale 3.1.8 (Debian 12, package radicale 3.1.8-2).
# Expected: a CalDAV server finds a journal by its category as it does by its description, and gives
#   a strong ETag for a PUT only when it keeps the bytes as they came (RFC 4791, 5.3.4).
# What happens: a calendar-query with a text-match on CATEGORIES is a 500, "A server error occurred",
#   as soon as one journal has a category: the server takes the list of categories for a text. And
#   each PUT is answered by an ETag although the properties are put in another order and the lines
#   folded anew.
# Who meets it: clients that keep notes as VJOURNAL and ask the server for those with a tag; and
#   clients that take what they sent for what is stored, by the ETag, and then see a change nobody made.
# What to do: ask for all journals and match tags in the client; compare content, not bytes.
set -euo pipefail
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
command -v radicale >/dev/null || apt-get install -y -qq --no-install-recommends radicale >/dev/null
command -v curl >/dev/null || apt-get install -y -qq --no-install-recommends curl >/dev/null
command -v node >/dev/null || apt-get install -y -qq --no-install-recommends nodejs >/dev/null

port=$(node -e "const s = require('node:net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close() })")
radicale --config '' --storage-filesystem-folder="$dir/data" --server-hosts="127.0.0.1:$port" --auth-type=none >log 2>&1 &
pids+=($!)
at=http://127.0.0.1:$port/person/journal
for _ in {1..100}; do curl -s -o /dev/null "http://127.0.0.1:$port/.web/" && break || sleep 0.1; done

dav() { curl -s -u person:any -H 'Depth: 1' "$@"; }
dav -X MKCALENDAR "$at/" -d '<c:mkcalendar xmlns:c="urn:ietf:params:xml:ns:caldav" xmlns:d="DAV:"><d:set><d:prop>
<c:supported-calendar-component-set><c:comp name="VJOURNAL"/></c:supported-calendar-component-set></d:prop></d:set></c:mkcalendar>'
printf '%s\r\n' BEGIN:VCALENDAR VERSION:2.0 PRODID:-//example//journal//EN BEGIN:VJOURNAL UID:1@example.org \
	DTSTAMP:20260102T030405Z 'SUMMARY:Tea' 'DESCRIPTION:Buy green tea' 'CATEGORIES:kitchen' END:VJOURNAL END:VCALENDAR >sent.ics
etag=$(dav -X PUT -H 'Content-Type: text/calendar' --data-binary @sent.ics -D - "$at/1.ics" | tr -d '\r' | sed -n 's/^ETag: //p')
dav "$at/1.ics" >stored.ics
query() {
	dav -o /dev/null -w '%{http_code}' -X REPORT "$at/" -d '<c:calendar-query xmlns:c="urn:ietf:params:xml:ns:caldav" xmlns:d="DAV:">
<d:prop><d:getetag/></d:prop><c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VJOURNAL"><c:prop-filter name="'"$1"'">
<c:text-match>'"$2"'</c:text-match></c:prop-filter></c:comp-filter></c:comp-filter></c:filter></c:calendar-query>'
}
seen="by description: $(query DESCRIPTION green)
by category: $(query CATEGORIES kitchen)
strong ETag: $([[ $etag == '"'* ]] && echo yes), same bytes: $(cmp -s sent.ics stored.ics && echo yes || echo no)"
echo "software: Radicale $(dpkg-query -W -f '${Version}' radicale)"
echo 'expected: 207, 207, and an ETag only for the same bytes'
echo 'seen:'
echo "$seen"
if [[ $seen == 'by description: 207
by category: 500
strong ETag: yes, same bytes: no' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: Radicale no longer behaves as described above.'
	exit 1
fi
