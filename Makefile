# triage: `make help` lists what there is. TAGS lets DuckDB's driver read Arrow memory.
TAGS    := duckdb_arrow
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT    := go tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: build demo test check lint fmt bench fuzz help

build: ## write bin/triage
	go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/triage ./cmd/triage

demo: build ## start triage with the demo shop, inject a fault, print the verdict
	bin/triage demo --once

test: ## run all tests
	go test -race -tags $(TAGS) ./...

test-demo: build ## let the demo shop fail for real, and compare the verdicts with what was injected
	bin/triage demo --scenario pool-exhaustion --once --json
	bin/triage demo --scenario own-bug --once --json

check: lint test ## lint, then test

lint: ## look for mistakes without running anything
	$(LINT) run ./...

fmt: ## format the code
	$(LINT) fmt ./...

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

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14
