# Hakone's work, one verb each. `make help` lists them.
SHELL := /bin/bash
GO ?= go
export GOTOOLCHAIN ?= local
# A binary as it ships: static, stripped, reproducible.
BUILDFLAGS := -trimpath -ldflags "-s -w"
FUZZTIME ?= 5s

.PHONY: help build setup check test unit lint fuzz e2e soak bench bench-quick interop hostile edge egress pgo docs demo clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/hakone
	CGO_ENABLED=0 $(GO) build $(BUILDFLAGS) -o bin/hakone ./cmd/hakone

setup: ## install what tests need (idempotent; apt, npm and Go modules)
	@tools/setup.sh

lint: ## gofmt, go vet, staticcheck, architecture
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt -w these files:"; echo "$$out"; exit 1; }
	$(GO) vet -tags e2e,soak ./...
	$(GO) tool staticcheck -tags e2e,soak ./...

unit: ## unit and golden tests
	$(GO) test ./... -count=1 -timeout 15m

fuzz: ## every fuzz target for FUZZTIME
	@tools/fuzz.sh $(FUZZTIME)

check: lint unit ## daily use: vet, unit, golden, short fuzz (≤ 5 min warm)
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1s

e2e: build setup ## the built binary with curl, openssl and raw peers
	HAKONE_BIN=$(CURDIR)/bin/hakone $(GO) test ./test/e2e/... -tags e2e -count=1 -timeout 25m

interop: build setup ## published suites (h2spec, conformance, grpc-go, testssl.sh, sslscan) and seven real clients, with their scores
	@HAKONE_BIN=$(CURDIR)/bin/hakone tools/scores.sh ./test/interop

edge: build setup ## the edge: policies, origins, authority and logs, with openssl, Express, nginx and Chromium
	HAKONE_BIN=$(CURDIR)/bin/hakone $(GO) test ./test/edge/... -tags e2e -count=1 -timeout 25m

egress: build setup ## the way out: Squid, workloads and the gateway on networks of their own
	HAKONE_BIN=$(CURDIR)/bin/hakone $(GO) test ./test/egress/... -tags e2e -count=1 -timeout 25m

hostile: build setup ## attacks beside clients that behave: floods, slowness, bombs
	@HAKONE_BIN=$(CURDIR)/bin/hakone tools/scores.sh ./test/hostile

test: ## everything: what CI runs
	@tools/test.sh

soak: build setup ## long: 10,000 hosts and policies, 100,000 certificates, rotation and revocation lists under load, bounds
	HAKONE_BIN=$(CURDIR)/bin/hakone $(GO) test ./test/soak/... -tags soak -count=1 -timeout 60m -v

bench: build setup ## beside nginx and HAProxy; writes dist/bench.md
	$(GO) run ./test/bench -bin bin/hakone -out dist/bench.md

bench-quick: build setup ## W1, W3 and W4 only, ≤ 3 minutes
	$(GO) run ./test/bench -bin bin/hakone -quick

pgo: build setup ## profile under load, from which the next build is optimised (cmd/hakone/default.pgo)
	rm -rf dist/pgo && mkdir -p dist/pgo
	$(GO) run ./test/bench -bin bin/hakone -only W1,W2,W3,W4,W5 -rounds 2 -pprof dist/pgo
	$(GO) tool pprof -proto dist/pgo/*.pprof > cmd/hakone/default.pgo

docs: ## write the pages that are made from the catalogue of codes
	$(GO) run ./tools/docs

demo: ## run the demo
	$(GO) run ./cmd/hakone demo

clean: ## remove what was built
	rm -rf bin dist
