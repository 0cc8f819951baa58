#!/bin/sh
# Run every check and fail at the end if one did, so that one call shows all there is to mend.
failed=
run() {
    echo "check: $*"
    "$@" || failed="$failed ${1##*/}"
}
run .venv/bin/ruff format --quiet --check .
run .venv/bin/ruff check --quiet .
run .venv/bin/mypy --no-error-summary
run .venv/bin/lint-imports --no-cache
if sh scripts/node.sh; then
    [ -d ui/node_modules ] || (cd ui && npm ci --silent --no-audit --no-fund)
    run npm --prefix ui run --silent check
fi
[ -z "$failed" ] || { echo "check: failed:$failed" >&2; exit 1; }
