# Windlass. `make` alone lists the targets.
#
# A fresh machine needs Go (see go.mod for the version), git, make and, for the
# race detector in `make test`, a C compiler. Everything else is fetched as a Go
# module, at the version that is pinned in a go.mod of this repository.

SHELL := /bin/sh
.DEFAULT_GOAL := help

BIN := bin
WINDLASS := $(BIN)/windlass
CONTROLPLANE := $(BIN)/controlplane
LINT := $(BIN)/golangci-lint
NGINX := $(BIN)/nginx
LINT_VERSION := v2.15.0

# The control plane is built once and kept until its dependencies change.
CONTROLPLANE_KEY := $(shell cat tools/controlplane/go.sum tools/controlplane/main.go 2>/dev/null | cksum | tr ' ' '-')
CONTROLPLANE_STAMP := $(BIN)/.controlplane-$(CONTROLPLANE_KEY)
KUBERNETES := v1.37.2
CONTROLPLANE_LDFLAGS := -s -w \
	-X k8s.io/component-base/version.gitVersion=$(KUBERNETES) \
	-X k8s.io/component-base/version.gitMajor=1 \
	-X k8s.io/component-base/version.gitMinor=37

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

export GOFLAGS += -buildvcs=false
export WINDLASS_CONTROLPLANE = $(CURDIR)/$(CONTROLPLANE)
export WINDLASS_NGINX = $(CURDIR)/$(NGINX)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: need-go need-cc
need-go:
	@command -v go >/dev/null || { echo "Go is missing: install the version that go.mod names, from https://go.dev/dl"; exit 1; }
	@command -v git >/dev/null || { echo "git is missing: install it with the system's package manager"; exit 1; }
need-cc: need-go
	@command -v "$$(go env CC)" >/dev/null || { echo "A C compiler is missing, which Go's race detector needs: install gcc or clang"; exit 1; }

.PHONY: build
build: need-go ## Build bin/windlass
	go build -trimpath -ldflags "-s -w -X windlass.dev/internal/cli.version=$(VERSION)" -o $(WINDLASS) ./cmd/windlass

.PHONY: controlplane
controlplane: $(CONTROLPLANE_STAMP) ## Build bin/controlplane: etcd and Kubernetes, once (about 10 minutes on two cores)

$(CONTROLPLANE_STAMP): | need-go
	@echo "Building etcd, Kubernetes $(KUBERNETES) and kubectl into $(CONTROLPLANE): about 10 minutes on two cores the first time, kept after that"
	cd tools/controlplane && go build -trimpath -ldflags "$(CONTROLPLANE_LDFLAGS)" -o ../../$(CONTROLPLANE) .
	@rm -f $(BIN)/.controlplane-*
	@touch $@

.PHONY: demo
demo: build controlplane ## Show the main job on an embedded development cluster (KEEP=1 leaves it up)
	$(WINDLASS) demo $(if $(KEEP),--keep)

# The tests under load compare our gateway with nginx: the machine's own, or Debian's
# package, unpacked and not installed. Where neither can be had they skip it.
$(NGINX):
	@mkdir -p $(BIN)
	@if command -v nginx >/dev/null; then ln -sf "$$(command -v nginx)" $@; \
	elif command -v apt-get >/dev/null; then \
	  dir=$$(mktemp -d) && cd $$dir && chmod 755 . && \
	  { apt-get -qq download nginx || { apt-get -qq update && apt-get -qq download nginx; }; } && \
	  dpkg-deb -x nginx_*.deb . && cp usr/sbin/nginx $(CURDIR)/$@ && rm -r $$dir; \
	fi || echo "nginx cannot be had here: what is compared with it is skipped"

.PHONY: test
test: need-cc controlplane $(NGINX) ## Run all tests, with the race detector
	@# More tests than processors at a time: many wait for a grace period or a timer.
	go test -race -parallel 4 -skip Crash -timeout 45m $$(go list ./... | grep -v -e /test/traffic -e '/test/rotation$$')
	@# To be killed after each write, a hundred times over, shows no races, and takes much longer with the detector.
	go test -parallel 6 -run Crash -timeout 45m $$(git grep -lE '^func Test[A-Za-z]*Crash' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's,^,./,')
	@# What is measured under load needs the machine for itself, and no race detector.
	go test -p 1 -timeout 20m ./test/traffic ./test/rotation

.PHONY: conformance
conformance: need-go controlplane ## Test the gateway with the Gateway API's conformance suite, and keep its report
	cd test/conformance && go test -count=1 -timeout 40m . -report-output $(CURDIR)/docs/reference/gateway-conformance.yaml -implementation-version "$(VERSION)"

.PHONY: lint
lint: $(LINT) ## Check the code with golangci-lint
	$(LINT) run ./...

$(LINT): | need-go
	@echo "Building golangci-lint $(LINT_VERSION): about 4 minutes on two cores the first time, kept after that"
	GOBIN=$(CURDIR)/$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

.PHONY: generate
generate: need-go ## Generate CRDs, RBAC, deep copies, the chart and the API reference
	go generate ./...

.PHONY: verify-generated
verify-generated: generate ## Fail when generated files are not up to date
	@git diff --exit-code -- api charts config docs || { echo "Generated files are out of date: run make generate and commit the result"; exit 1; }

.PHONY: image
image: need-go ## Build the container image into dist/image (an OCI layout), without a container engine
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags "-s -w -X windlass.dev/internal/cli.version=$(VERSION)" -o dist/windlass-$$arch ./cmd/windlass || exit 1; \
	done
	go -C tools/image run . -o $(CURDIR)/dist/image -version "$(VERSION)" linux/amd64=$(CURDIR)/dist/windlass-amd64 linux/arm64=$(CURDIR)/dist/windlass-arm64

.PHONY: bench
bench: build controlplane ## Measure a fleet of 200 installations against a bare client
	go run ./test/bench installations -n 200

.PHONY: clean
clean: ## Remove what was built, but not the control plane, which takes long
	rm -rf $(WINDLASS) $(LINT) .windlass dist
