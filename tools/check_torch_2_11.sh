#!/usr/bin/env bash
# Runs the fast tests with the oldest torch that pyproject.toml allows, in a venv of their own.
# On demand: tools/check_torch_2_11.sh [pytest arguments]. Downloads about as much as make setup.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-torch-2.11
python=${PYTHON:-python3}

# All other versions stay those of constraints.txt; what torch pins must move with it.
loose=$(mktemp)
trap 'rm -f "$loose"' EXIT
grep -vE '^(torch|torchvision|triton|setuptools|nvidia-|cuda-)' constraints.txt > "$loose"
grep -E '^torch-pruning' constraints.txt >> "$loose"
printf 'torch==2.11.*\ntorchvision==0.26.*\n' >> "$loose"

test -x "$venv/bin/python" || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$loose" -e '.[dev]'
"$venv/bin/python" -c 'import torch; print("torch", torch.__version__)'
# An old torch warns about itself; those warnings are not ours to mend.
"$venv/bin/python" -m pytest -q -W ignore::FutureWarning -W ignore::DeprecationWarning \
  -W ignore::UserWarning "$@"
