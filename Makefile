# make demo   restored photos and a before/after picture, from a bare machine
# make test   everything that CI checks
# make torture KILLS=200   hurts the real daemon: kills, faults, 5,000 hostile files, 20,000 files at once (an hour)
# make dist VERSION=0.1.0   the .deb and a tarball, for any x86-64-v2 processor; make dist-test and deb-test try them
# The rest: build, lint, bench, train, clean. setup/setup.sh says what is installed and fetched.

GO      ?= go
PYTHON  := .deps/venv/bin/python
# Packages without native code in them: they are tested under the race detector.
PURE    := ./align ./paste ./config ./confine ./daemon ./fetch

.PHONY: demo test build lint bench train clean setup test-go test-python test-torture torture dist dist-test deb-test

demo: build
	setup/demo.sh

test: setup-test
	$(MAKE) lint test-go test-python test-torture

.PHONY: setup-test
setup-test:
	setup/setup.sh --python --lint --browser --postgres

setup:
	setup/setup.sh

build: setup
	$(GO) build -o bin/restored ./cmd/restored

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	@! grep -rl '^import "C"' $(PURE) ./restore ./pipeline ./cmd || { echo 'cgo stands only in detect and media'; exit 1; }
	$(GO) vet ./...
	.deps/bin/golangci-lint run ./...

test-go:
	$(GO) test -timeout 15m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(PURE))")
	$(GO) test -race -timeout 15m $(PURE)
	$(GO) test -run TestManyFiles ./daemon # more files than the race detector has time for

test-python:
	$(PYTHON) -m pytest -q pltrans

test-torture: build
	python3 -m torture short

KILLS   ?= 200
torture: build
	python3 -m torture kills --kills $(KILLS)
	python3 -m torture faults
	python3 -m torture hostile
	python3 -m torture flood

VERSION ?= $(shell sed -n 's/^var version = "\(.*\)"/\1/p' cmd/restored/main.go)
dist:
	setup/setup.sh --dist
	GO=$(GO) packaging/dist.sh $(VERSION)

# The binary of make dist on an emulated processor of 2008.
dist-test:
	packaging/dist_test.sh

# The .deb on a fresh Debian 12 with a real systemd: as root, some minutes.
deb-test:
	packaging/deb_test.sh

bench: build
	setup/bench.sh

# make train FACES=folder [VAL=folder] [PLAN=pltrans/configs/s.toml] [RUN=runs/a]: every stage goes on where it stopped.
RUN     ?= runs/a
PLAN    ?= pltrans/configs/s.toml
train: export OMP_WAIT_POLICY = PASSIVE
train:
	@test -n "$(FACES)" || { echo 'name a folder of aligned 512×512 faces: make train FACES=folder'; exit 2; }
	setup/setup.sh --python
	$(PYTHON) -m pltrans.train --config $(PLAN) --data $(FACES) $(if $(VAL),--val $(VAL)) --run $(RUN)

clean:
	rm -rf bin demo dist
