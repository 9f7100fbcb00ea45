# refmap: an exact refcount map inside CPython. README.md says what it is for.
#
# Each target is a script in Tools/refmap; this file only names them.

VERSION = 3.13
VARIANT = debug

help:
	@echo 'make demo                 install what is missing, build, show a leak report'
	@echo 'make check                build, run our tests and a part of CPython'\''s'
	@echo 'make python               build/$$VERSION-$$VARIANT/python'
	@echo '    VERSION=$(VERSION) VARIANT=debug|release|trace|release-lto|off|'
	@echo '    off-debug|stock-debug|stock-release|stock-release-tuned|'
	@echo '    stock-release-lto|stock-release-lto-tuned|stock-trace-refs'
	@echo '    CONFIGURE_ARGS=...'
	@echo 'make install PREFIX=DIR   install that interpreter below DIR'
	@echo 'make bench                time it against stock CPython'
	@echo 'make apply DEST=DIR       put refmap into your own CPython checkout'
	@echo 'make unapply DEST=DIR     take it out again'
	@echo 'make clean                remove all builds (distclean: and tarballs)'

demo:
	@Tools/refmap/demo '$(VERSION)'

check:
	@Tools/refmap/check '$(VERSION)'

deps:
	@Tools/refmap/build/install-deps

python:
	@Tools/refmap/build/build '$(VERSION)' '$(VARIANT)'

install:
	@Tools/refmap/build/install '$(VERSION)' '$(VARIANT)' '$(PREFIX)'

bench:
	@test -x Tools/refmap/bench/run || \
	    { echo 'bench: Tools/refmap/bench/run is missing' >&2; exit 1; }
	@Tools/refmap/bench/run '$(VERSION)'

apply:
	@Tools/refmap/patches/apply '$(DEST)'

unapply:
	@Tools/refmap/patches/unapply '$(DEST)'

lint:
	@Tools/refmap/patches/lint-patches

clean:
	@Tools/refmap/build/clean

distclean:
	@Tools/refmap/build/clean --all

.PHONY: help demo check deps python install bench apply unapply lint clean distclean
