# jit: `make demo` and `make test` do all that they need, from a clean clone on a fresh Debian machine, as root.
#
#   make demo [KEEP=1]    the whole story on a booted host, then a server with two; KEEP=1 keeps the first host and says how to enter it
#   make test             everything: unit, integration and end-to-end tests on booted hosts
#   make e2e T=NAME       one group of host tests (tests/tests/NAME.rs)
#   make soak             the long runs: jitd killed 1,000 times
#   make clocks           clocks set, reboots and suspend, in virtual machines; not part of make test, being slow
#   make bench [PART=…]   figures, as a table and in target/bench/figures.json; PART=host, fleet, records or decide measures only that
#   make deb              target/packages/*.deb
#   make lint             format, clippy without warnings, licences and sources (advisories: cargo deny check, with internet access)
#   make man              the man pages, into target/man

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)
export KEEP

.PHONY: demo test e2e soak clocks bench deb lint man needs

demo: deb
	cargo run --quiet --locked -p jit_tests --bin demo

test: deb
	packaging/install-schemathesis
	cargo test --locked --workspace --no-fail-fast

e2e: deb
	@test -n "$(T)" || { echo "make e2e needs T=NAME, one of: $(basename $(notdir $(wildcard tests/tests/*.rs)))" >&2; exit 2; }
	cargo test --locked -p jit_tests --test $(T) -- --nocapture

soak: deb
	JIT_KILLS=$${JIT_KILLS:-1000} cargo test --locked -p jit_tests --test crashes -- --nocapture

clocks: deb
	packaging/install-needs packaging/needs-clocks
	cargo test --locked -p jit_tests --test clocks -- --nocapture

bench: deb
	cargo run --quiet --locked --release -p jit_tests --bin bench -- $(PART)

deb: needs
	packaging/build-deb

lint: needs
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p jit_tests --test clocks -- -D warnings
	if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; else echo "cargo-deny is not installed; get it with: cargo install cargo-deny --locked"; fi

man: needs
	mkdir -p target/man && cp packaging/man/* target/man
	for binary in jitd jitd-sync jitctl jit-server; do cargo run --quiet --locked --bin $$binary -- generate man target/man || exit; done
	@ls target/man

needs:
	@packaging/install-needs
