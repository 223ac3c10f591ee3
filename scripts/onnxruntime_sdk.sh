#!/usr/bin/env bash
# Makes a folder with include/ and lib/ of ONNX Runtime, for examples/cpp. Usage: scripts/onnxruntime_sdk.sh DIR
# The library is the installed Python wheel's, which has no headers. Those are in the npm package of a plugin for Unity
# (150 MB, which is why nothing but `make cpp-check` fetches it); they are ONNX Runtime's own, of an older or equal version,
# and a library serves programs compiled for every earlier one.
set -euo pipefail
out=${1:?usage: scripts/onnxruntime_sdk.sh DIR}
python=${PYTHON:-.venv/bin/python}
package=com.github.asus4.onnxruntime version=0.4.9
digest=e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d

if [ -e "$out/include/onnxruntime_cxx_api.h" ] && [ -e "$out/lib/libonnxruntime.so" ]; then exit 0; fi
library=$("$python" -c 'import pathlib, onnxruntime as o; print(*pathlib.Path(o.__file__).parent.glob("capi/libonnxruntime.so.*"))')
[ -f "$library" ] || { echo "the installed onnxruntime has no libonnxruntime.so" >&2; exit 3; }
command -v npm > /dev/null || { echo "npm, which fetches the headers, is not installed" >&2; exit 3; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package@$version" > packed)
archive="$work/$(cat "$work/packed")"
echo "$digest  $archive" | sha256sum --check --quiet
headers=package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64_x86_64-simulator/onnxruntime.framework/Headers
tar -xzf "$archive" -C "$work" "$headers"
mkdir -p "$out/include" "$out/lib"
cp "$work/$headers"/*.h "$out/include/"
cp "$library" "$out/lib/libonnxruntime.so.1"  # its SONAME
ln -sf libonnxruntime.so.1 "$out/lib/libonnxruntime.so"
echo "ONNX Runtime in $out"
