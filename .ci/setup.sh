#!/usr/bin/env bash
# What the tests need beside Go: PostgreSQL's and Redis's servers, a C compiler for the race detector, make, curl, openssl
# and unzip for the examples in the docs, promtool, npm for the web app's bundle, and Chromium (170 MB to fetch). With the
# argument e2e also what `make e2e` alone needs: Firefox, Caddy, PgBouncer, blackbox_exporter. What is missing is
# installed on Debian and its like, as root or with sudo; elsewhere it is named. The tests start their own services.
set -euo pipefail
tier=${1:-test} # test or e2e

has_postgres() { command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
has_redis() { command -v redis-server >/dev/null; }
has_c() { command -v gcc >/dev/null && gcc -E -include stdlib.h -x c /dev/null >/dev/null 2>&1; }
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null

missing() { # the Debian packages for what is not there
	has_postgres || echo postgresql
	has_redis || echo redis-server
	has_c || printf '%s\n' gcc libc6-dev
	for tool in make curl openssl unzip prometheus npm; do command -v "$tool" >/dev/null || echo "$tool"; done
	has_chromium || echo chromium
	[[ $tier == e2e ]] || return 0
	for tool in prometheus-blackbox-exporter caddy pgbouncer firefox-esr; do command -v "$tool" >/dev/null || echo "$tool"; done
}

fail() {
	printf 'setup: %s\n' "$@" >&2
	exit 1
}

command -v go >/dev/null || fail 'Go 1.26 or newer is missing: https://go.dev/dl'
mapfile -t packages < <(missing)
[[ ${#packages[@]} -gt 0 ]] || exit 0

install=(apt-get install -y --no-install-recommends "${packages[@]}")
if ! command -v apt-get >/dev/null; then
	fail "the tests need what Debian calls: ${packages[*]}" 'install their like here, with initdb, redis-server and gcc on the PATH'
elif [[ $(id -u) -eq 0 ]]; then
	as_root=()
elif command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
	as_root=(sudo)
else
	fail "the tests need: ${packages[*]}" "install them, as root: ${install[*]}"
fi

echo "setup: installing ${packages[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
mapfile -t packages < <(missing)
[[ ${#packages[@]} -eq 0 ]] || fail "still missing after the installation: ${packages[*]}"
