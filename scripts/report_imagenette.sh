#!/usr/bin/env bash
# The report on real photographs: a trained ResNeSt-50 in FP32, BF16 and INT8, on OpenVINO and ONNX Runtime.
# Usage: RESNEST_EDGE_DATA=/path/to/data scripts/report_imagenette.sh [OUT]
# The folder holds imagenette/{train,val} and weights/resnest50d-imagenette.safetensors. Run nothing else meanwhile.
set -euo pipefail
export RESNEST_EDGE_DATA="${RESNEST_EDGE_DATA:?set it to the folder that holds imagenette/ and weights/}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${1:-reports/imagenette}"
edge=.venv/bin/resnest-edge

build() { # TARGET PRECISION...
  local target=$1 precisions=()
  shift
  for precision in "$@"; do precisions+=(--precision "$precision"); done
  "$edge" build resnest50 --weights "$RESNEST_EDGE_DATA/weights/resnest50d-imagenette.safetensors" \
    --image-size 160 --resize squash --interpolation bicubic \
    --images "$RESNEST_EDGE_DATA/imagenette/train" --eval-images "$RESNEST_EDGE_DATA/imagenette/val" \
    "${precisions[@]}" --target "$target" --out "engines/imagenette/$target" --force
}

build openvino fp32 bf16 int8
build onnxruntime fp32 int8
"$edge" report engines/imagenette/openvino/{fp32,bf16,int8} engines/imagenette/onnxruntime/{fp32,int8} \
  --images "$RESNEST_EDGE_DATA/imagenette/val" --title "ResNeSt-50 on Imagenette, 160 pixels" \
  --batch 1 --batch 8 --rounds 6 --seconds 0.7 \
  --published --out "$out" --force
