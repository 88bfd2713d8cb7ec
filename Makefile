# triage: `make help` lists what there is. TAGS lets DuckDB's driver read Arrow memory.
TAGS    := duckdb_arrow
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := go tool -modfile=$(CURDIR)/tools/go.mod

.DEFAULT_GOAL := help
.PHONY: build demo test test-race test-demo check lint fmt bench bench-verdict bench-events fuzz soak help accuracy

build: ## write bin/triage and bin/accuracy
	go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/triage ./cmd/triage
	go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/accuracy ./cmd/accuracy

demo: build ## start triage with the demo shop, inject a fault, print the verdict
	bin/triage demo --once

test: ## run all tests
	go test -tags $(TAGS) ./...

test-race: ## run the tests under the race detector, without those that only take longer under it
	go test -race -short -tags $(TAGS) ./...

test-demo: build ## break the demo shop for real, and compare the verdict with what was broken
	bin/triage demo --scenario pool-exhaustion --once --json

check: lint test ## lint, then test

lint: ## look for mistakes without running anything
	@test -z "$$(gofmt -l cmd internal client demo bench)" || { gofmt -l cmd internal client demo bench; echo 'run make fmt'; exit 1; }
	go vet -tags $(TAGS) ./...
	$(TOOL) staticcheck -tags $(TAGS) ./...

fmt: ## format the code
	gofmt -w cmd internal client demo bench

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
