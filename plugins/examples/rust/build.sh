#!/bin/sh
# Builds campaign.wasm. Needs Rust with the target wasm32-unknown-unknown, and tubepost; TUBEPOST may say where it is.
set -eu
cd "$(dirname "$0")"
"${TUBEPOST:-tubepost}" plugin build . --output campaign.wasm
