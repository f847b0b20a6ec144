#!/usr/bin/env bash
# quick-start.sh: notesd running after one choice, made from a menu or given as an argument.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export ENV_FILE=${ENV_FILE:-env/production.local.env}
secrets=${SECRETS_DIR:-secrets}

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
	case $target in
	docker-*)
		make --no-print-directory "$target"
		next_steps "$target"
		;;
	*)
		next_steps "$target"
		exec make --no-print-directory "$target"
		;;
	esac
}

# next_steps says where the server is, where its administrators' token is, and what comes next.
next_steps() {
	local prod="docker compose --env-file $ENV_FILE -f compose.prod.yaml" cluster=false
	[[ $1 != *-cluster ]] || cluster=true
	case $1 in
	dev*) steps "$(setting .env BACKEND_PORT 'http://localhost:%s' 3001)" 'in the link to the status page that the server prints; the file is data/admin-token' \
		'Sign up and write a note: docs/WALKTHROUGH.md' \
		'Have a front end of yours call it: CORS_ORIGIN in .env (cp env/development.env .env)' \
		'Stop it with Ctrl-C; the notes stay in ./data' ;;
	start*) steps "$(setting "$ENV_FILE" BACKEND_PORT 'http://localhost:%s' 3001), for a proxy with HTTPS in front of it" "the file $secrets/admin_token" \
		"Make the first account: APP_ENV=production deploy/with-env $ENV_FILE ./notesd user add you@example.com" \
		"Set CORS_ORIGIN and TRUSTED_PROXIES in $ENV_FILE, for the proxy" \
		"Look it over: APP_ENV=production deploy/with-env $ENV_FILE env CLUSTER_MODE=$cluster ./notesd check" ;;
	docker-up) steps "$(setting .env BACKEND_PORT 'http://localhost:%s' 3001)" 'printed by: docker compose cp notesd:/data/admin-token - | tar -xO' \
		'Sign up and write a note: docs/WALKTHROUGH.md' \
		'See what it does: make docker-logs, and /status with the token' \
		'Stop it: make docker-down; the data stays in volumes' ;;
	docker-prod-up) steps "$(site "$(setting "$ENV_FILE" SITE_ADDRESS %s localhost)")" "the file $secrets/admin_token" \
		"Make the first account: $prod exec notesd /notesd user add you@example.com" \
		'Look it over: make check-setup' \
		'Have a backup made every night: docs/DEPLOYMENT.md' ;;
	esac
}

# steps prints an address, the place of the token, and what comes next.
steps() {
	printf '\n  Address  %s\n  Token    %s\n\nNext:\n' "$1" "$2"
	shift 2
	local number=0 step
	for step; do
		number=$((number + 1))
		printf '  %d. %s\n' "$number" "$step"
	done
	printf '\n'
}

# setting prints a setting of a file, or else of the environment, in a format; a default if it is set in neither.
setting() {
	local value=${!2-}
	[[ ! -e $1 ]] || value=$(deploy/with-env "$1" bash -c 'printf %s "${!1-}"' - "$2")
	# shellcheck disable=SC2059 # the format is ours
	printf "$3" "${value:-$4}"
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
		SITE_ADDRESS=*) line=SITE_ADDRESS=${SITE_ADDRESS:-localhost} ;;
		CORS_ORIGIN=*) line=CORS_ORIGIN=${CORS_ORIGIN:-$(site "${SITE_ADDRESS:-localhost}")} ;;
		*_FILE=secrets/*) line=${line%%=*}=$secrets/${line#*=secrets/} ;;
		esac
		printf '%s\n' "$line"
	done <env/production.env >"$new"
	ln "$new" "$ENV_FILE" # fails rather than overwrites
	rm "$new"
	deploy/secrets
	printf 'Made %s, and new secrets in %s. SITE_ADDRESS and CORS_ORIGIN in it are yours to set. Nobody can sign up, since it says REGISTRATION=closed.\n' "$ENV_FILE" "$secrets"
}

# site is the URL of a SITE_ADDRESS, which Caddy takes with a scheme, too.
site() { case $1 in *://*) printf %s "$1" ;; *) printf 'https://%s' "$1" ;; esac }

need() { command -v "$1" >/dev/null || fail "$1 was not found: $2"; }

fail() {
	printf 'quick-start: %s\n' "$1" >&2
	exit 1
}

main "$@"
