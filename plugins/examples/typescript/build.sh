#!/bin/sh
# Builds campaign.wasm. Needs Node 18 or later; the rest comes from npm.
set -eu
cd "$(dirname "$0")"
npm ci --no-audit --no-fund --ignore-scripts
npm run build
