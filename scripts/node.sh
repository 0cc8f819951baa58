#!/bin/sh
# Succeed when the page can be built here; otherwise say what is missing.
[ -f ui/package.json ] || exit 1
major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
if [ "${major:-0}" -ge 20 ] && command -v npm >/dev/null; then
    exit 0
fi
echo "ui: Node 20 and npm are not here, so the page is not built. Everything else works; install them and run: make ui" >&2
exit 1
