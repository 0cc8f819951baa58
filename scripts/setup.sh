#!/bin/sh
# setup.sh PYTHON VENV GROUP: install Rundial, editable, and one dependency group of pyproject.toml into VENV.
# VENV/.GROUP is the stamp that make compares with pyproject.toml.
set -eu
python=$1 venv=$2 group=$3

if [ ! -x "$venv/bin/python" ]; then
    [ -n "$python" ] || { echo "setup: Python 3.11 or newer is not here. Install it, or say where: make PYTHON=/path/to/python3" >&2; exit 1; }
    echo "setup: making $venv with $("$python" --version)"
    "$python" -m venv "$venv" || { echo "setup: $python cannot make environments. On Debian: apt install python3-venv" >&2; exit 1; }
fi
pip="$venv/bin/python -m pip -qq --disable-pip-version-check"

echo "setup: installing the group '$group'"
$pip install --upgrade 'pip>=25.1' # the first that knows --group
case $group in
    dev) $pip install --editable . --group dev ;;
    frameworks)
        # torch on its own and first: as another package's dependency it could arrive in another build. Where the
        # configured indexes do not have this version, its makers' CPU index does.
        $pip install --group torch || $pip install --index-url https://download.pytorch.org/whl/cpu --group torch
        $pip install --group frameworks
        ;;
    *) $pip install --editable . --group "$group" ;;
esac
touch "$venv/.$group"
