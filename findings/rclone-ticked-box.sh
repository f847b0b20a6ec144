#!/usr/bin/env bash
# Software: rclone 1.60.1 (Debian 12, package rclone), as client and as WebDAV server.
# Expected: a note in which a box was ticked is synchronised: its text and its time have changed.
# What happens: to a WebDAV server of the kind "other", which has neither hashes nor times that rclone
#   can set, rclone compares lengths alone. "- [ ]" and "- [x]" are equally long, as are 10:00 and 11:00:
#   sync says "There was nothing to transfer", and check finds no difference, in both directions.
# Who meets it: people who synchronise a folder of notes with a plain WebDAV server. The next change of
#   another length takes both along, so it looks as if it worked.
# What to do: vendor=nextcloud or owncloud where the server knows X-OC-Mtime, or sync with --ignore-times.
set -euo pipefail
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
for tool in rclone curl; do
	command -v $tool >/dev/null || apt-get install -y -qq --no-install-recommends $tool >/dev/null
done
command -v node >/dev/null || apt-get install -y -qq --no-install-recommends nodejs >/dev/null

port=$(node -e "const s = require('node:net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close() })")
mkdir phone served
export RCLONE_CONFIG=/dev/null
rclone serve webdav served --addr "127.0.0.1:$port" 2>/dev/null &
pids+=($!)
for _ in {1..100}; do curl -s -o /dev/null "http://127.0.0.1:$port/" && break || sleep 0.1; done
server=":webdav,url='http://127.0.0.1:$port',vendor=other:"

printf -- '- [ ] call Ann at 10:00\n' >phone/note.md
rclone sync phone "$server" 2>/dev/null
sleep 1.1
printf -- '- [x] call Ann at 11:00\n' >phone/note.md
said=$(rclone sync phone "$server" -v 2>&1 | grep -o 'There was nothing to transfer' || true)
checked=$(rclone check phone "$server" 2>&1 | grep -o '0 differences found' || true)
seen="sync: $said
check: $checked
on the server: $(cat served/note.md)
with --ignore-times: $(rclone sync phone "$server" --ignore-times 2>/dev/null && cat served/note.md)"
echo "software: $(rclone version | head -1)"
echo 'expected: the ticked box on the server'
echo 'seen:'
echo "$seen"
if [[ $seen == 'sync: There was nothing to transfer
check: 0 differences found
on the server: - [ ] call Ann at 10:00
with --ignore-times: - [x] call Ann at 11:00' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: rclone no longer behaves as described above.'
	exit 1
fi
