#!/bin/sh
# Builds campaign.wasm. Needs Python 3.10 or later with venv; the rest comes from PyPI.
set -eu
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
.venv/bin/componentize-py --wit-path ../../../wit/0.1.0 --world submit-plugin componentize campaign --output campaign.wasm
