# The project's few tasks. Each is a command that can also be typed by itself.
.PHONY: help demo test fast long check contracts docs bench pins hooks

help:  ## list the tasks
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo:  ## set up and run the network's main job on real records
	./scripts/demo

test:  ## set up, check and test everything
	./scripts/test

fast:  ## the tests alone, without the checks
	./scripts/test --fast

long:  ## everything, with what takes minutes by nature; before a release
	./scripts/test --long

check:  ## format, lint, types and import rules
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy --strict && .venv/bin/lint-imports

contracts:  ## compile the contracts and write the committed artifacts
	SOLCX_BINARY_PATH=$(CURDIR)/.tools/home .venv/bin/python -m contracts.compile

docs:  ## build the documentation into var/site
	.venv/bin/mkdocs build

bench:  ## measure, each figure beside a baseline of the same run
	.venv/bin/qiaolian bench

pins:  ## work out the pinned requirements again
	./scripts/setup-pins

hooks:  ## run the checks before each commit
	.venv/bin/pre-commit install
