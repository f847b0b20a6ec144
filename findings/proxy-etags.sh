#!/usr/bin/env bash
# Software: nginx 1.22.1, HAProxy 2.6.12, Caddy 2.6.2 (Debian 12), each with compression turned on.
# Expected: a client reads a note with its ETag and saves it with If-Match: that ETag; the server
#   compares the two and takes the save. What a proxy compresses makes no difference.
# What happens: nginx and HAProxy turn "v1" into W/"v1" when they compress the answer, and hand
#   If-Match on as the client sent it. If-Match compares strongly: W/"v1" equals nothing (RFC 9110,
#   13.1.1), and each save is 412. Caddy leaves the ETag strong. A client that asks for no gzip
#   (curl, a test) gets "v1" from all three, and its saves pass.
# Who meets it: an API with conditional writes behind a proxy that compresses JSON.
# What to do: compress in the server or not at all on such routes (Cache-Control: no-transform stops
#   HAProxy, not nginx); give the version in the body as well, and let clients send that.
set -euo pipefail
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
for name in nginx haproxy caddy; do
	PATH=$PATH:/usr/sbin command -v $name >/dev/null || missing+=("${name/nginx/nginx-light}")
done
[[ -z ${missing:-} ]] || apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
PATH=$PATH:/usr/sbin

cat >ports.js <<'JS' # four ports that are free
const servers = [1, 2, 3, 4].map(() => require('node:net').createServer().listen(0, '127.0.0.1'))
setTimeout(() => {
  console.log(servers.map((s) => s.address().port).join(' '))
  process.exit()
}, 100)
JS
read -r server nginx haproxy caddy <<<"$(node ports.js)"

cat >server.js <<'JS' # compares If-Match as RFC 9110 says
require('node:http').createServer((req, res) => {
  const match = req.headers['if-match']
  const status = match && match !== '"v1"' ? 412 : 200
  res.writeHead(status, { ETag: '"v1"', 'Content-Type': 'application/json' })
  res.end(JSON.stringify({ text: 'a note '.repeat(500) }))
}).listen(Number(process.argv[2]), '127.0.0.1')
JS
cat >nginx.conf <<NGINX
daemon off; pid $dir/nginx.pid; error_log $dir/nginx.log; worker_processes 1; events {}
http {
	access_log off; client_body_temp_path $dir/t1; proxy_temp_path $dir/t2;
	fastcgi_temp_path $dir/t3; uwsgi_temp_path $dir/t4; scgi_temp_path $dir/t5;
	gzip on; gzip_types application/json;
	server { listen 127.0.0.1:$nginx; location / { proxy_pass http://127.0.0.1:$server; } }
}
NGINX
cat >haproxy.cfg <<HAPROXY
defaults
	mode http
	timeout connect 5s
	timeout client 5s
	timeout server 5s
	compression algo gzip
	compression type application/json
listen notes
	bind 127.0.0.1:$haproxy
	server one 127.0.0.1:$server
HAPROXY
cat >Caddyfile <<CADDY
{
	admin off
	auto_https off
}
http://127.0.0.1:$caddy {
	encode gzip
	reverse_proxy 127.0.0.1:$server
}
CADDY
node server.js "$server" & pids+=($!)
nginx -e "$dir/nginx.log" -c "$dir/nginx.conf" & pids+=($!)
haproxy -f haproxy.cfg >/dev/null 2>&1 & pids+=($!)
HOME=$dir caddy run --config Caddyfile --adapter caddyfile 2>/dev/null & pids+=($!)

seen=$(for name in server nginx haproxy caddy; do
	url=http://127.0.0.1:${!name}/note
	for _ in $(seq 100); do curl -s -o /dev/null "$url" && break; sleep 0.1; done
	head=$(curl -s -o /dev/null -D - -H 'Accept-Encoding: gzip' "$url" | tr -d '\r')
	etag=$(sed -n 's/^etag: //Ip' <<<"$head")
	gzip=$(grep -ic '^content-encoding: gzip' <<<"$head" || true)
	save=$(curl -s -o /dev/null -w '%{http_code}' -X PUT -d x -H "If-Match: $etag" "$url")
	echo "$name: gzip $gzip, ETag $etag, save $save"
done)

echo "software: $(nginx -v 2>&1), $(haproxy -v | head -1 | cut -d' ' -f1-3), Caddy $(caddy version)"
echo 'expected: save 200 in each line'
echo 'seen:'
echo "$seen"
if [[ $seen == 'server: gzip 0, ETag "v1", save 200
nginx: gzip 1, ETag W/"v1", save 412
haproxy: gzip 1, ETag W/"v1", save 412
caddy: gzip 1, ETag "v1", save 200' ]]; then
	echo 'As described.'
else
	echo 'CHANGED: one of the proxies no longer behaves as described above.'
	exit 1
fi
