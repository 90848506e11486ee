#!/bin/sh
# Builds campaign.wasm. Needs clang and lld with wasi-libc (Debian: clang lld wasi-libc libclang-rt-14-dev-wasm32), Rust for the
# generator of bindings, and tubepost; TUBEPOST may say where it is.
set -eu
cd "$(dirname "$0")"
cargo run --quiet --package c-bindings -- ../../../wit/0.1.0 submit-plugin build
clang --target=wasm32-wasi -mexec-model=reactor -O2 -Wall -Wextra -Wl,--strip-debug -Ibuild -o build/campaign.wasm \
    campaign.c json.c build/submit_plugin.c build/submit_plugin_component_type.o
"${TUBEPOST:-tubepost}" plugin componentize build/campaign.wasm --output campaign.wasm
