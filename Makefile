# What one does with this tree, by name. `make` alone lists the targets.

GO       ?= go
TOOL     := $(GO) tool -modfile=tools/go.mod
# Each system has its own durable system call, so each is built and vetted. No file is
# for one processor alone, so one of them is enough to vet; `vet` does Linux.
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
VETTED    := darwin/arm64 windows/amd64
# How long each fuzz target runs, and how many seeds the simulator, in `make long`.
FUZZTIME ?= 10m
SEEDS    ?= 50000
# How long each nemesis runs, and where its reports go.
NEMESIS_TIME ?= 5m
NEMESIS_DIR  ?= $(CURDIR)/reports
NEMESIS      := $(NEMESIS_DIR)/nemesis

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: format vet lint cross race ## all of what a change must pass: format, vet, lint, cross, race

.PHONY: test
test: ## all tests
	$(GO) test ./...

.PHONY: format
format: ## fail if gofumpt would change a file, and name it
	@files=$$($(TOOL) gofumpt -l .) && if [ -n "$$files" ]; then \
		printf 'gofumpt would change:\n%s\n' "$$files"; exit 1; fi

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: lint
lint: ## staticcheck
	$(TOOL) staticcheck ./...

# Nobody runs what is built here, and not to optimize it takes a quarter less time.
CROSS := -gcflags='all=-N -l'
.PHONY: cross
cross: ## build for linux, darwin and windows on amd64 and arm64, and vet for each
	@for platform in $(PLATFORMS); do \
		echo "build $$platform"; \
		export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		$(GO) build $(CROSS) ./... || exit 1; \
		case " $(VETTED) " in *" $$platform "*) \
			echo "vet $$platform"; \
			$(GO) vet $(CROSS) ./... || exit 1;; \
		esac; \
	done

.PHONY: race
race: ## all tests under the race detector; the longest ones shortened
	$(GO) test -race -short -timeout 20m ./...

.PHONY: fuzz
fuzz: ## every fuzz target for 5 seconds
	.ci/fuzz 5s

.PHONY: long
long: ## every fuzz target for FUZZTIME (10m) and SEEDS (50000) simulator seeds: hours
	.ci/fuzz $(FUZZTIME)
	$(GO) run ./cmd/quorate sim --seeds $(SEEDS)
	$(GO) run ./cmd/quorate sim --seeds $(SEEDS) --machine store

.PHONY: mutants
mutants: ## plant each bug of check/mutants and see who catches it; writes docs/mutants.md
	$(GO) run ./internal/cmd/mutants -write docs/mutants.md

.PHONY: compat
compat: ## etcd's clients on real servers, and the same operations to an etcd: module compat
	cd compat && $(GO) vet ./... && $(GO) tool -modfile=../tools/go.mod staticcheck ./...
	etcdctl34=$$(.ci/etcdctl-3.4) && cd compat && ETCDCTL34="$$etcdctl34" $(GO) test -p 1 -timeout 20m ./...

.PHONY: explore
explore: ## the model check of raft at every scope: up to an hour, 5 GB
	$(GO) run -tags invariants ./cmd/quorate check --long
	$(GO) run ./cmd/quorate check --clients

.PHONY: nemesis
nemesis: ## real servers under every fault, NEMESIS_TIME (5m) each of 3 and 5 members: docs/nemesis.md
	mkdir -p $(NEMESIS_DIR)
	cd compat && $(GO) build -o $(NEMESIS) ./cmd/nemesis
	cd compat && $(NEMESIS) -nodes 3 -duration $(NEMESIS_TIME) -report $(NEMESIS_DIR)/nemesis-3.html -json $(NEMESIS_DIR)/nemesis-3.json
	cd compat && $(NEMESIS) -nodes 5 -duration $(NEMESIS_TIME) -report $(NEMESIS_DIR)/nemesis-5.html -json $(NEMESIS_DIR)/nemesis-5.json

.PHONY: bench
bench: ## micro-benchmarks of every package, then the library beside the floor
	$(GO) test -run '^$$' -bench . -benchmem ./...
	cd bench && $(GO) run ./floor

.PHONY: docs
docs: ## write docs/protocol.md anew from its rows and the tests that cite them
	$(GO) generate ./internal/cmd/protocoldoc

.PHONY: mark
mark: ## mark each rule that has a function and a test as built, then docs
	cd internal/cmd/protocoldoc && $(GO) run . -mark
