# triage: `make help` lists what there is. TAGS lets DuckDB's driver read Arrow memory.
TAGS    := duckdb_arrow
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := go tool -modfile=$(CURDIR)/tools/go.mod

.DEFAULT_GOAL := help
.PHONY: build demo test test-go test-web test-browser screenshots bench-web test-race test-demo check lint fmt bench bench-verdict bench-events fuzz soak help accuracy

# The web page is built where npm is; without it the program says so in its place.
ifneq ($(shell command -v npm 2>/dev/null),)
WEB := web/dist/index.html
endif
MODULES := web/node_modules/.package-lock.json

build: $(WEB) ## write bin/triage and bin/accuracy
	go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/triage ./cmd/triage
	go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/accuracy ./cmd/accuracy

demo: build ## start triage with the demo shop, inject a fault, print the verdict
	bin/triage demo --once

$(MODULES): web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

web/dist/index.html: $(MODULES) web/index.html web/vite.config.ts web/scripts/build.mjs $(shell find web/src -type f ! -name '*.gen.ts' 2>/dev/null)
	cd web && npm run --silent build

test: test-go test-web test-browser ## run all tests

test-go: ## run the tests of the program
	go test -tags $(TAGS) ./...

ifdef WEB
test-web: $(MODULES) ## check the types and the style of the web page, and run its tests without a browser
	cd web && npm run --silent types && npm run --silent lint && npm run --silent unit

test-browser: build ## drive the real program with a real browser; skipped by name where there is no Chromium
	cd web && npm run --silent browser

screenshots: build ## make the pictures of README and docs
	cd web && npm run --silent screenshots

bench-web: build ## measure the web page in a real browser
	cd web && npm run --silent bench
else
test-web test-browser screenshots bench-web:
	@echo '$@ is skipped: npm is not installed (Node.js 20.19 or newer with npm 11)'
endif

test-race: ## run the tests under the race detector, without those that only take longer under it
	go test -race -short -tags $(TAGS) ./...

test-demo: build ## break the demo shop for real, and compare the verdict with what was broken
	bin/triage demo --scenario pool-exhaustion --once --json

check: lint test ## lint, then test

lint: ## look for mistakes without running anything
	@test -z "$$(gofmt -l cmd internal client demo bench web/*.go)" || { gofmt -l cmd internal client demo bench web/*.go; echo 'run make fmt'; exit 1; }
	go vet -tags $(TAGS) ./...
	$(TOOL) staticcheck -tags $(TAGS) ./...

fmt: ## format the code
	gofmt -w cmd internal client demo bench web/*.go

bench: ## run the benchmarks
	go test -run '^$$' -bench . -benchmem -tags $(TAGS) ./...

FUZZTIME ?= 10s
fuzz: ## fuzz every decoder for FUZZTIME each
	@go list -tags $(TAGS) -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$$dir"/*_test.go 2>/dev/null | cut -c6-); do \
			echo "== $$pkg $$f"; \
			go test -tags $(TAGS) -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "$$pkg" || exit 1; \
		done; \
	done

SOAK ?= 2000
soak: ## kill the event store 200 times, flip bits, and run SOAK random sequences of operations and faults
	TRIAGE_SOAK=$(SOAK) go test -tags $(TAGS) -run '^(TestKill|TestKillInPhases|Test.*FlippedBit.*|TestRandomFaults)$$' -timeout 24h ./internal/store/events

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

ROWS ?= 10000000
bench-verdict: ## measure a verdict over ROWS spans and as many log lines
	TRIAGE_BENCH_ROWS=$(ROWS) go test -tags $(TAGS) -run '^$$' -bench Verdict -benchtime 5x -timeout 60m ./internal/diagnose

SIZE ?= 5M
bench-events: ## measure the event store against its goals, over SIZE spans and as many log lines
	go run -tags $(TAGS) ./bench/events --size $(SIZE) $(BENCH_ARGS)

accuracy: build ## measure verdicts, alarms and templates on the recorded incidents in ACCURACY_DATA, against their floors
	go run -tags $(TAGS) ./bench/accuracy/table --data '$(ACCURACY_DATA)'
