#!/usr/bin/env bash
# The main job on the embedded default: build, measure and report the demo model on this machine. Usage: scripts/demo.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
edge=.venv/bin/resnest-edge
out=reports/demo

precisions=(fp32 int8)
if "$edge" doctor --json | grep -q '"bf16": true'; then precisions=(fp32 bf16 int8); fi

"$edge" build "${precisions[@]/#/--precision=}" --out "$out/engines" --force
"$edge" report "${precisions[@]/#/$out/engines/}" --images demo:test --title "The demo model on this machine" \
  --batch 1 --rounds 10 --seconds 0.4 --warmup 0.5 --out "$out" --force
