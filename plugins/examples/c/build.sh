#!/bin/sh
# Builds campaign.wasm. Needs clang and lld with wasi-libc (Debian: clang lld wasi-libc libclang-rt-14-dev-wasm32), wit-bindgen
# (cargo install wit-bindgen-cli@0.63.0 --locked), and tubepost; WIT_BINDGEN and TUBEPOST may say where they are.
set -eu
cd "$(dirname "$0")"
"${WIT_BINDGEN:-wit-bindgen}" c --world submit-plugin --out-dir build ../../../wit/0.1.0
clang --target=wasm32-wasi -mexec-model=reactor -O2 -Wall -Wextra -Wl,--strip-debug -Ibuild -o build/campaign.wasm \
    campaign.c json.c build/submit_plugin.c build/submit_plugin_component_type.o
"${TUBEPOST:-tubepost}" plugin componentize build/campaign.wasm --output campaign.wasm
