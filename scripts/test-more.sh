#!/bin/sh
# test-more.sh [FRAMEWORK...]: run the tests of tests/more, each framework in an environment of its own: .venv-more-NAME.
# They are heavy or want versions of their own, and so stand apart from `make test`. Without a name it runs all of them.
set -u
all="catboost stable_baselines3 ignite skorch fastai ray ultralytics wandb_sacred wandb_diffusers"
python=$(sh scripts/python.sh)
failed=

# What pip installs, torch first so that no other package chooses its build. "===" takes the build of the package index
# and not one that a local folder has: torchvision's operators load into no other.
packages() {
    case $1 in
        catboost) echo "catboost>=1.2" ;;
        stable_baselines3) echo "torch==2.13.0 stable-baselines3>=2.3 matplotlib tensorboard moviepy" ;;
        ignite) echo "torch==2.13.0 pytorch-ignite>=0.5" ;;
        skorch) echo "torch==2.13.0 skorch>=1.0" ;;
        fastai) echo "torch==2.13.0 torchvision==0.28.0 fastai>=2.7" ;;
        ray) echo "ray[tune]>=2.40" ;;
        ultralytics) echo "torch===2.13.0 torchvision==0.28.0 ultralytics-opencv-headless>=8.3" ;;
        wandb_sacred) echo "sacred>=0.8.7 setuptools<81" ;;
        wandb_diffusers) echo "torch==2.13.0 diffusers>=0.35" ;;
        *) return 1 ;;
    esac
}

install() { # VENV PACKAGES; the latter are words
    sh scripts/setup.sh "$python" "$1" test && "$1/bin/python" -m pip -qq --disable-pip-version-check install $2 &&
        touch "$1/.more"
}

for name in ${*:-$all}; do
    wanted=$(packages "$name") || { echo "test-more: there is no $name; there are: $all" >&2; exit 2; }
    venv=.venv-more-$name
    if [ ! -f "$venv/.more" ] || [ pyproject.toml -nt "$venv/.more" ] || [ scripts/test-more.sh -nt "$venv/.more" ]; then
        echo "test-more: installing $wanted"
        install "$venv" "$wanted" || { failed="$failed $name"; continue; }
    fi
    echo "test-more: $name"
    files=$(ls "tests/more/test_$name.py" "tests/more/test_wandb_$name.py" 2>/dev/null)
    "$venv/bin/python" -m pytest -q $files tests/more/test_examples.py || failed="$failed $name"
done
[ -z "$failed" ] || { echo "test-more: failed:$failed" >&2; exit 1; }
