# Agnes. `make demo` runs it, `make test` tests it; both need Go, a C compiler and git only.
# Everything that is downloaded for the other targets goes to .tools, everything built to bin and build.

# DuckDB hands out Arrow batches only with this tag; without it things compile but are slower.
export GOFLAGS := -tags=duckdb_arrow -buildvcs=false
export CGO_ENABLED := 1

MODULES  := proto pkg services
BINARIES := $(notdir $(wildcard services/cmd/*))
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/agnes-platform/agnes/pkg/service.version=$(VERSION)
TOOLS    := $(CURDIR)/.tools
BENCH    ?= .

GOLANGCI_LINT  := v2.15.0
BUF            := v1.75.0
PROTOC_GEN_GO  := v1.36.12
NATS_SERVER    := v2.15.2
NATS_CLI       := v0.5.1
PYTHON_DUCKDB  := 1.5.5
SCHEMATHESIS   := 4.32.5
AIOSMTPD       := 1.4.6
BQEMULATOR     := 1.4.0
NUMPY          := 2.4.6
OIDC_PROVIDER  := 9.13.3
VERSITYGW      := v1.8.0
FAKE_GCS       := v1.56.1
AZURITE        := 3.37.0

.PHONY: help build demo test verify bench lint generate generated tidy clean tools-lint tools-generate tools-verify

help: ## Show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build every binary into bin/
	@mkdir -p bin
	cd services && go build -ldflags '$(LDFLAGS)' -o ../bin/ ./cmd/...

demo: ## Generate sample data, start Agnes, print the URL, a login and commands to try
	@mkdir -p bin
	cd services && go build -ldflags '$(LDFLAGS)' -o ../bin/ ./cmd/agnes ./cmd/da
	bin/agnes demo --dir build/demo

test: ## Run all tests with the race detector, in random order
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && go test -race -shuffle=on -timeout 20m ./...); done

verify: tools-verify ## Run the binaries as separate processes against real peers
	cd services && AGNES_VERIFY_TOOLS='$(TOOLS)' go test -tags 'duckdb_arrow verify' -count=1 -timeout 40m -v ./verify/...
	cd services && AGNES_TEST_WORKERS=1 go test -count=1 -run 'P2_Hostile|E7_|E8_|P3_' ./api/

bench: ## Measure against the goals (BENCH=<regexp> for a part); writes build/bench.json
	@mkdir -p build
	cd services && AGNES_VERIFY_TOOLS='$(TOOLS)' go run ./bench -run '$(BENCH)' -out ../build/bench.json

lint: tools-lint generated ## Lint every module and check that each builds by itself
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && $(TOOLS)/golangci-lint run --config ../.golangci.yml ./... && GOWORK=off go vet ./...); done
	cd services && GOWORK=off GOFLAGS=-buildvcs=false go build -o /dev/null ./...

generate: tools-generate ## Regenerate the Go code of the protobuf contract
	cd proto && PATH='$(TOOLS)':$$PATH buf generate

generated: tools-generate
	cd proto && PATH='$(TOOLS)':$$PATH buf lint
	@rm -rf build/generated && mkdir -p build/generated
	cd proto && PATH='$(TOOLS)':$$PATH buf generate -o ../build/generated
	@diff -r build/generated/agnes proto/agnes --exclude='*.proto' || { echo "generated code is out of date: run make generate"; exit 1; }

tidy: ## Tidy the module files
	@set -e; for m in $(MODULES); do (cd $$m && GOWORK=off go mod tidy); done

clean: ## Remove what was built (data directories stay)
	rm -rf bin build .tools

# $(call tool,name,package@version): installs once per version.
define tool
@test -e $(TOOLS)/.$(1)-$(lastword $(subst @, ,$(2))) || { echo "installing $(2)"; mkdir -p $(TOOLS) && \
 GOWORK=off GOFLAGS= CGO_ENABLED=0 GOBIN=$(TOOLS) go install $(2) && touch $(TOOLS)/.$(1)-$(lastword $(subst @, ,$(2))); }
endef

# $(call peer,name,package@version): a tool that verify can do without.
define peer
$(tool) || echo "SKIPPED PEER: $(2) cannot be built here"
endef

# $(call pypi,package,version) and $(call npm,package,version): peers in other languages, for verify.
define pypi
@test -e $(TOOLS)/python/.$(1)-$(2) || { echo "installing $(1) $(2)"; \
 $(TOOLS)/python/bin/pip install --quiet --disable-pip-version-check $(1)==$(2) && touch $(TOOLS)/python/.$(1)-$(2); } || \
 echo "SKIPPED PEER: the Python package $(1) cannot be installed here"
endef
define npm
@test -e $(TOOLS)/node/.$(1)-$(2) || { echo "installing $(1) $(2)"; mkdir -p $(TOOLS)/node && \
 npm install --prefix $(TOOLS)/node --no-audit --no-fund --loglevel=error $(1)@$(2) && touch $(TOOLS)/node/.$(1)-$(2); } || \
 echo "SKIPPED PEER: the npm package $(1) cannot be installed here"
endef

tools-lint:
	$(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT))

tools-generate:
	$(call tool,buf,github.com/bufbuild/buf/cmd/buf@$(BUF))
	$(call tool,protoc-gen-go,google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO))

tools-verify:
	$(call tool,nats-server,github.com/nats-io/nats-server/v2@$(NATS_SERVER))
	$(call tool,nats,github.com/nats-io/natscli/nats@$(NATS_CLI))
	@test -x $(TOOLS)/python/bin/pip || python3 -m venv $(TOOLS)/python || echo "SKIPPED PEER: Python has no venv here"
	$(call pypi,duckdb,$(PYTHON_DUCKDB))
	$(call pypi,schemathesis,$(SCHEMATHESIS))
	$(call pypi,aiosmtpd,$(AIOSMTPD))
	$(call pypi,bqemulator,$(BQEMULATOR))
	$(call pypi,numpy,$(NUMPY))
	$(call pypi,duckdb-extension-spatial,$(PYTHON_DUCKDB))
	$(call pypi,duckdb-extension-sqlite-scanner,$(PYTHON_DUCKDB))
	$(call pypi,duckdb-extension-postgres-scanner,$(PYTHON_DUCKDB))
	$(call npm,oidc-provider,$(OIDC_PROVIDER))
	$(call npm,azurite,$(AZURITE))
	$(call peer,versitygw,github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW))
	$(call peer,fake-gcs-server,github.com/fsouza/fake-gcs-server@$(FAKE_GCS))
	@command -v psql >/dev/null || echo "SKIPPED PEER: PostgreSQL is not installed; on Debian: apt-get install postgresql"
	@command -v chromium >/dev/null || echo "SKIPPED PEER: chromium is not installed; on Debian: apt-get install chromium"
