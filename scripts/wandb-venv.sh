#!/bin/sh
# wandb-venv.sh PYTHON VENV: an environment with the real wandb, in which tests/compat/wandb runs the same probes as here.
# VENV/.wandb is the stamp; the version is the one that docs/wandb-compat.md is written against.
set -eu
python=$1 venv=$2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip -qq --disable-pip-version-check install 'wandb>=0.31,<0.32' numpy pillow pandas matplotlib plotly scikit-learn
touch "$venv/.wandb"
