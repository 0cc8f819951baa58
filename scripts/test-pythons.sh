#!/bin/sh
# test-pythons.sh VERSION...: run the SDK's unit tests and flows under each Python that is found.
set -u
status=0
find_python() { # a shim may exist and not run, so each candidate is tried
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}
for version in "$@"; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "test-pythons: Python $version is not here, left out"
        continue
    fi
    venv=.venv-$version
    if [ ! -f "$venv/.test" ] || [ pyproject.toml -nt "$venv/.test" ]; then
        sh scripts/setup.sh "$python" "$venv" test || exit 1
    fi
    echo "test-pythons: Python $version"
    "$venv/bin/python" -m pytest -q tests/unit tests/flows || status=1
done
exit $status
