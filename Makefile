# p402: make run · make test · make check · make bench · make build
.PHONY: run build test check bench catalog chaos-meter

GO ?= go

run: build ## the whole house with everything simulated, on 127.0.0.1:8402
	bin/p402-sandbox

build: ## the binaries, in bin/
	$(GO) build -o bin/ ./cmd/...

test: ## the whole proof; sets up what it needs by itself
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./...

check: ## format, vet and staticcheck
	@bad="$$(gofmt -l $$(git ls-files '*.go'))"; test -z "$$bad" || { echo "gofmt: $$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools.mod staticcheck ./...

bench: build ## what p402 costs against a bare hop; takes two minutes and a quiet machine
	$(GO) build -o bin/ ./internal/bench
	bin/bench

chaos-meter: ## kills the gateway under load, 100 times at random and at each named point, takes its store away, and audits; ten minutes
	$(GO) build -tags chaos -o bin/ ./internal/chaos
	bin/chaos

catalog: ## the built-in price book, from the pinned list and the reviewed overlay; read the diff
	cd internal/catalogue && npm ci --ignore-scripts --no-audit --no-fund && node generate.mjs
