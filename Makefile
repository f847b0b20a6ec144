# Everything one does here. `make` alone lists it.

SHELL := bash
.DEFAULT_GOAL := help

# Production's settings: env/production.env with values of your own. Git ignores the default name.
ENV_FILE ?= env/production.local.env
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
export VERSION

# Every build of this machine is made with the same flags, so that Go compiles each package once: see CONTRIBUTING.md.
# Without cgo the binary is static. -v names each package as it is compiled, since the first time takes minutes.
go-run := CGO_ENABLED=0 go run -v .
go-build := CGO_ENABLED=0 go build -v -ldflags "-s -w -X main.version=$(VERSION)"
export DOCKER_BUILDKIT := 1

production := APP_ENV=production deploy/with-env $(ENV_FILE)
compose-prod := docker compose --env-file $(ENV_FILE) -f compose.prod.yaml

##@ Development
.PHONY: dev dev-cluster
dev: ## run from source on one core: http://localhost:3001, data in ./data
	CLUSTER_MODE=false $(go-run)

dev-cluster: ## run from source on all cores
	CLUSTER_MODE=true $(go-run)

##@ Production on this machine
.PHONY: build start start-cluster
build: ## the static binary ./notesd
	$(go-build) -o notesd .

start: $(ENV_FILE) build ## run the binary on one core, with the settings in ENV_FILE
	$(production) env CLUSTER_MODE=false ./notesd

start-cluster: $(ENV_FILE) build ## run the binary on all cores, with the settings in ENV_FILE
	$(production) env CLUSTER_MODE=true ./notesd

##@ Docker, development (compose.yaml)
.PHONY: docker-build docker-up docker-down docker-logs
docker-build: ## the image `notesd`
	docker build --build-arg GOPROXY --build-arg VERSION --tag notesd .

docker-up: docker-build ## notesd, PostgreSQL and Redis, healthy: http://localhost:3001
	docker compose up --detach --wait --no-build # it was built just now

docker-down: ## stop and remove them; their data stays
	docker compose down

docker-logs: ## follow their logs
	docker compose logs --follow --tail 100

##@ Docker, production (compose.prod.yaml)
.PHONY: secrets docker-prod-build docker-prod-up docker-prod-down docker-prod-logs docker-prod-upgrade docker-prod-rollback check-setup
docker-prod-build: docker-build ## the same image

secrets: $(ENV_FILE) ## the files of production's secrets that are missing; those that ENV_FILE holds are moved there
	@ENV_FILE=$(ENV_FILE) deploy/secrets

docker-prod-up: secrets docker-prod-build ## Caddy, notesd, PostgreSQL and Redis, healthy: https://SITE_ADDRESS
	$(compose-prod) up --detach --wait

docker-prod-upgrade: secrets docker-prod-build ## replace one replica after the other by the image of this tree
	ENV_FILE=$(ENV_FILE) deploy/rolling forward

docker-prod-rollback: secrets ## replace them by the image that ran before the upgrade
	ENV_FILE=$(ENV_FILE) deploy/rolling back

docker-prod-down: $(ENV_FILE) ## stop and remove them; their data stays
	$(compose-prod) down

docker-prod-logs: $(ENV_FILE) ## follow their logs
	$(compose-prod) logs --follow --tail 100

check-setup: $(ENV_FILE) ## judge the running production stack, inside its container; CHECK="-strict -replicas 2"
	@$(compose-prod) config | $(compose-prod) exec -T notesd /notesd check -compose - $(CHECK)

##@ Proofs (docs/RUNTIME.md, docs/PERFORMANCE.md)
# A proof writes its figures to docs/results/NAME.md, with plots beside it, unless PROOFS names another file. BENCH is
# passed on to notesd bench, settings of a test like KILLS=5 come from the environment. For a quick look:
# make prove NAME=storm PROOFS=/tmp/look.md BENCH="-d 1s -rounds 1 -allow-late"
.PHONY: prove
prove: ## all proofs, 40 minutes on 2 otherwise idle cores; NAME=kill runs one, NAME=help lists them; STRICT=-strict: a miss is an error
	@CGO_ENABLED=0 go run ./bench/lab/prove $(STRICT) $(if $(PROOFS),-into $(PROOFS)) $(if $(BENCH),-bench "$(BENCH)") $(NAME)

##@ Quality
# These tests of the store use one goroutine, and much CPU that the race detector makes five times as much.
LONG := ^(TestHistoryModel|TestHistorySize|TestHistoryInBackup|TestDeltaRuns|TestImportLarge|TestListsPlans|TestPlans|TestModel|TestImport|TestChangesModel|TestListsModel|TestRandomWords|TestSearchGivenUp|TestSearchLongNeedles|TestSearchUnkindNeedle|TestLargeNote|TestLargeNoteLeavesMemory|TestDisk)$$

# So do the tests of these packages, which have no goroutines of their own.
PURE := merge notes notes/query notes/searchfold store/dump

.PHONY: test test-raced test-plain house check bench checklist e2e
test: ## what CI runs: unit tests, with the race detector where goroutines meet, and e2e -short; on PostgreSQL, SQLite and Redis of its own
	.ci/setup.sh
	go test -race $$(go list ./... | grep -vE '/(e2e|server|store|$(subst $() ,|,$(PURE)))$$')
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-raced test-plain
	CGO_ENABLED=0 go test -short -parallel 4 -timeout 10m ./e2e # the servers that it starts have the race detector

test-raced: ## of these, store and server with the race detector, one after the other: some of their tests measure time
	go test -race -p 1 -parallel 4 -timeout 20m -skip '$(LONG)' ./store ./server

test-plain: ## of these, what needs no race detector, on what CPU the others leave
	CGO_ENABLED=0 nice -n 19 go test $(addprefix ./,$(PURE))
	CGO_ENABLED=0 nice -n 19 go test -parallel 4 -timeout 20m -run '$(LONG)' ./store

house: ## lines, files, largest types, repeated lines and words of the documents, with what is above its bound
	@CGO_ENABLED=0 go run ./e2e/house

check: ## gofmt, vet, go fix, staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted" >&2; exit 1; }
	CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 go fix -diff ./...
	CGO_ENABLED=0 go tool staticcheck ./...

bench: ## every benchmark
	go test -run '^$$' -bench . -benchmem ./...

checklist := CGO_ENABLED=0 go run ./e2e/checklist

e2e: ## all of e2e, browser, Prometheus and containers too, and for each row of the old checklist: verdict, time, command
	@.ci/setup.sh e2e
	@mkdir -p dist && echo '{}' >dist/check.json
	@CHECK_REPORT=$(abspath dist/check.json) sh -c "$$($(checklist) -command)" | tee dist/tests.json | \
		$(checklist) -tests - -report dist/check.json $$(docker info >/dev/null 2>&1 && echo -strict)

page := $(checklist) -page -tests dist/tests.json -report dist/check.json >docs/CHECKLIST.md

checklist: ## make e2e, and docs/CHECKLIST.md anew from what it found
	@mkdir -p dist && echo '{}' >dist/check.json && : >dist/tests.json
	@$(page)
	@$(MAKE) --no-print-directory e2e; found=$$?; $(page) && exit $$found

.PHONY: screenshot
screenshot: ## docs/status.png: the status page while the pool is full, in Chromium
	.ci/setup.sh e2e
	SCREENSHOT=$(abspath docs/status.png) go test ./e2e -run '^TestStatusPage$$' -count=1

.PHONY: pictures
pictures: ## docs/web/: the web app in Chromium
	.ci/setup.sh
	mkdir -p docs/web
	WEB_PICTURES=$(abspath docs/web) CGO_ENABLED=0 go test ./e2e -run '^TestWebApp$$|^TestWebAppPictures$$' -count=1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' Makefile

$(ENV_FILE):
	@echo "There is no $@. Copy env/production.env to it and set what has no # before it, then run deploy/secrets," >&2
	@echo "or run ./quick-start.sh production-single, which makes one with new secrets." >&2
	@exit 1
