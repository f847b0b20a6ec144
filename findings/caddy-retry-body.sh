#!/usr/bin/env bash
# Software: Caddy 2.6.2 (Debian 12, package caddy).
# Expected: with lb_try_duration, a request whose first upstream refuses the connection goes to the
#   next one, whatever its method: nothing was sent yet. For GET it does.
# What happens: a request with a body is tried again, but its body was closed by the first try. The
#   client gets a 502, the log says "http: invalid Read on closed Body", and the healthy upstream
#   saw a request that broke off. Versions up to 2.11.1 are said to have it
#   (caddyserver/caddy#7546).
# Who meets it: several servers behind Caddy, one of which is down or just restarting: reading
#   works, each save that meets the wrong one fails.
# What to do: buffer_requests in reverse_proxy (in later versions request_buffers), or take a server
#   out by a health check before it stops listening.
set -euo pipefail
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
command -v caddy >/dev/null || apt-get install -y -qq --no-install-recommends caddy >/dev/null

cat >ports.js <<'JS' # three ports that are free
const servers = [1, 2, 3].map(() => require('node:net').createServer().listen(0, '127.0.0.1'))
setTimeout(() => {
  console.log(servers.map((s) => s.address().port).join(' '))
  process.exit()
}, 100)
JS
read -r front healthy refusing <<<"$(node ports.js)"

cat >healthy.js <<'JS'
require('node:http').createServer((req, res) => {
  let bytes = 0
  req.on('data', (part) => (bytes += part.length))
  req.on('end', () => res.end(String(bytes)))
  req.on('error', () => {})
}).listen(Number(process.argv[2]), '127.0.0.1')
JS
node healthy.js "$healthy" &
pids+=($!)

proxy() { # reverse_proxy with the options given
	printf 'reverse_proxy 127.0.0.1:%s 127.0.0.1:%s {\nlb_policy round_robin\nlb_try_duration 3s\n%s\n}\n' \
		"$refusing" "$healthy" "$1"
}
cat >Caddyfile <<CADDY
{
	admin off
	auto_https off
}
http://127.0.0.1:$front {
	handle /buffered {
		$(proxy buffer_requests)
	}
	handle {
		$(proxy '')
	}
}
CADDY
HOME=$dir caddy run --config Caddyfile --adapter caddyfile 2>log &
pids+=($!)
for _ in $(seq 100); do curl -s -o /dev/null "http://127.0.0.1:$front/" && break; sleep 0.1; done

four() { # sends the request four times, so that each upstream comes first twice; prints the worst status
	for _ in 1 2 3 4; do curl -s -m 10 -o /dev/null -w '%{http_code}\n' "$@"; done | sort | tail -1
}
seen="GET $(four "http://127.0.0.1:$front/"), PUT $(four -X PUT -d text "http://127.0.0.1:$front/"), \
PUT buffered $(four -X PUT -d text "http://127.0.0.1:$front/buffered")"

echo "software: Caddy $(caddy version)"
echo 'expected: GET 200, PUT 200, PUT buffered 200'
echo "seen:     $seen"
if [[ $seen == 'GET 200, PUT 502, PUT buffered 200' ]] && grep -q 'invalid Read on closed Body' log; then
	echo 'As described.'
else
	echo 'CHANGED: Caddy no longer behaves as described above.'
	exit 1
fi
