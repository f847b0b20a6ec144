#!/usr/bin/env bash
# quick-start.sh: notesd running after one choice, made from a menu or given as an argument.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export ENV_FILE=${ENV_FILE:-env/production.local.env}

menu() {
	cat <<-'END'
		  1  development-single   from source, one core
		  2  development-cluster  from source, all cores
		  3  production-single    the built binary, one core
		  4  production-cluster   the built binary, all cores
		  5  docker-development   notesd, PostgreSQL and Redis in containers
		  6  docker-production    the same behind Caddy, with HTTPS and limits
		  7  exit
	END
}

# target names the Makefile's target for a choice, and fails when there is no such choice.
target() {
	case $1 in
	1 | development-single) echo dev ;;
	2 | development-cluster) echo dev-cluster ;;
	3 | production-single) echo start ;;
	4 | production-cluster) echo start-cluster ;;
	5 | docker-development) echo docker-up ;;
	6 | docker-production) echo docker-prod-up ;;
	7 | exit) echo exit ;;
	*) return 1 ;;
	esac
}

main() {
	local target
	case ${1-} in
	-h | --help)
		printf 'Usage: ./quick-start.sh [CHOICE], a number or a name of\n\n'
		menu
		exit
		;;
	'') ask ;;
	*) target=$(target "$1") || unknown "$1" ;;
	esac

	case $target in
	exit) exit ;;
	docker-*) check_docker ;;
	*) check_go ;;
	esac
	need make 'install it, for example with: sudo apt-get install make'
	case $target in
	start* | docker-prod-up) make_settings ;;
	esac
	exec make --no-print-directory "$target"
}

# ask shows the menu until a choice is made, and sets target.
ask() {
	local choice
	printf 'notesd: how should it run?\n\n'
	menu
	while read -r -p $'\nChoice [1-7]: ' choice; do
		target=$(target "$choice") && return
		printf 'There is no choice "%s".\n' "$choice"
	done
	printf '\n'
	fail 'no choice made. Without a terminal, give it as an argument: ./quick-start.sh docker-production'
}

unknown() {
	printf 'quick-start: there is no choice "%s". There are\n\n' "$1" >&2
	menu >&2
	exit 2
}

check_go() {
	need go 'install Go 1.26 or newer: https://go.dev/dl'
	go list -m >/dev/null || fail 'this Go is too old and may not fetch a newer one: https://go.dev/dl'
}

check_docker() {
	need docker 'install Docker: https://docs.docker.com/engine/install'
	docker compose version >/dev/null 2>&1 ||
		fail 'docker has no compose plugin: https://docs.docker.com/compose/install'
	docker info >/dev/null 2>&1 ||
		fail 'the Docker engine does not answer: start it, and see that you may use it (group docker, or sudo)'
}

# make_settings makes production's settings with new secrets, for this user's eyes only, unless there are some.
make_settings() {
	[[ ! -e $ENV_FILE ]] || return 0
	local new line
	new=$(mktemp "$ENV_FILE.XXXXXX")
	while IFS= read -r line; do
		case $line in
		SESSION_SECRET=* | ADMIN_TOKEN=* | POSTGRES_PASSWORD=* | REDIS_PASSWORD=*) line=${line%%=*}=$(secret) ;;
		esac
		printf '%s\n' "$line"
	done <env/production.env >"$new"
	ln "$new" "$ENV_FILE" # fails rather than overwrites
	rm "$new"
	printf 'Made %s with new secrets. SITE_ADDRESS and CORS_ORIGIN in it are yours to set.\n' "$ENV_FILE"
}

secret() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }

need() { command -v "$1" >/dev/null || fail "$1 was not found: $2"; }

fail() {
	printf 'quick-start: %s\n' "$1" >&2
	exit 1
}

main "$@"
