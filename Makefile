# What can be made here. A fresh Debian 12 with Go, gcc and root is enough: each
# target installs what it needs and is missing (scripts/setup.sh).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

BIN := bin/observatory-trace
IMAGE ?= observatory-trace:latest
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOLANGCI_LINT := bin/tools/golangci-lint-v2.15.0
TEST_FLAGS ?= -count=1 -p 2 -timeout 15m
PKG ?= ./...
FUZZTIME ?= 100000x
DLV := bin/tools/dlv-v1.27.2
WHAT ?=
ROUNDS ?= 5
CALLS ?= 10000000

.PHONY: fuzz help setup build image generate generate-check docs corpus lint fmt test bench bench-query bench-loading benchmarks check demo clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Installs what the other targets need and is missing
	@scripts/setup.sh

build: ## Builds bin/observatory-trace
	@scripts/setup.sh build
	@mkdir -p bin
	@go build -buildvcs=false -trimpath -ldflags '-X main.stamped=$(VERSION)' -o $(BIN) ./cmd/observatory-trace

image: ## Builds the container image IMAGE (observatory-trace:latest) of deploy/
	@scripts/image.sh "$(IMAGE)" "$(VERSION)"

generate: ## Regenerates the BPF objects and their Go bindings
	@scripts/setup.sh generate
	@go generate ./...

docs: ## Makes docs/values.md and docs/metrics.md anew
	@go run ./internal/valuesdoc > docs/values.md.new
	@mv docs/values.md.new docs/values.md
	@go test -count=1 -run '^TestDocument$$' ./node -update >/dev/null

corpus: ## Makes the damaged programs in testdata/damaged anew, and what list says of them
	@go run ./internal/testenv/damaged/corpus
	@go test -count=1 -run '^TestDamaged$$' ./internal/e2e -update >/dev/null

generate-check: ## Fails when the committed BPF objects are not what make generate makes
	@scripts/setup.sh generate
	@scripts/generate-check.sh

lint: $(GOLANGCI_LINT) ## Checks the style of Go code and shell scripts
	@scripts/setup.sh lint
	@$(GOLANGCI_LINT) fmt --diff
	@$(GOLANGCI_LINT) run
	@test -z "$$(gofmt -l testdata | tee /dev/stderr)"
	@cd testdata/targets/go && go vet ./...
	@cd deploy/validate && go vet ./...
	@shellcheck scripts/*.sh .ci/run

fmt: $(GOLANGCI_LINT) ## Formats the Go code
	@$(GOLANGCI_LINT) fmt
	@gofmt -w testdata

$(GOLANGCI_LINT):
	@echo 'building golangci-lint, once: this takes some minutes' >&2
	@mkdir -p bin/tools/making
	@GOFLAGS= GOBIN=$(CURDIR)/bin/tools/making \
		go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(lastword $(subst -, ,$@))
	@mv bin/tools/making/golangci-lint $@

test: ## Runs all tests, privileged ones included (PKG=./folder/ for some)
	@scripts/setup.sh test
	@scripts/generate-check.sh
	@go test $(TEST_FLAGS) $(PKG)
	@[ '$(PKG)' != ./... ] || scripts/fuzz.sh 3000x

fuzz: ## Runs every fuzz target for FUZZTIME (100000x)
	@scripts/fuzz.sh $(FUZZTIME)

bench: build $(DLV) ## Measures what tracing costs, beside other tools (WHAT=cost, scale, budget, pipeline, steady for some), into docs/benchmarks.md
	@scripts/setup.sh bench
	@go run ./internal/bench -rounds $(ROUNDS) $(WHAT)

bench-query: build ## Measures queries of a database of CALLS (10000000) calls, into docs/benchmarks.md
	@scripts/setup.sh bench
	@go run ./internal/bench -rounds $(ROUNDS) -calls $(CALLS) query

benchmarks: ## Makes docs/benchmarks.md anew, of the figures in docs/benchmarks
	@go run ./internal/bench document

$(DLV):
	@mkdir -p bin/tools/making
	@GOFLAGS= GOBIN=$(CURDIR)/bin/tools/making go install github.com/go-delve/delve/cmd/dlv@$(lastword $(subst -, ,$@))
	@mv bin/tools/making/dlv $@

bench-loading: build ## Measures what one function of a 150 MB program takes, beside Delve
	@go run ./internal/bench/loading

check: lint generate-check test ## Runs everything that a change must pass

demo: ## Traces a running order service for a few seconds
	@scripts/setup.sh demo
	@$(MAKE) build
	@scripts/demo.sh

clean: ## Removes what was built
	@rm -rf bin logs
