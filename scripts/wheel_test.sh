#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment and runs the demo there. PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
pip="-m pip --disable-pip-version-check -qq"

"$python" -m venv "$place/venv"
run="$place/venv/bin"
"$run/python" $pip wheel --no-deps --wheel-dir "$place/wheel" .
wheel=$(echo "$place"/wheel/*.whl)
"$run/python" $pip install "$wheel" -c constraints.txt
constraints=$PWD/constraints.txt
mkdir "$place/work" && cd "$place/work" # away from the checkout: what is imported is what was installed
"$run/resnest-edge" --help > help.txt
"$run/resnest-edge" models --json > models.json
"$run/resnest-edge" build > missing.txt 2>&1 && { echo "the core built a model without torch?" >&2; exit 1; } || [ $? -eq 3 ] || {
  cat missing.txt >&2; exit 1; }
"$run/python" $pip install "$wheel[export,cpu,sign]" -c "$constraints"
"$run/resnest-edge" build --precision fp32 --precision int8 --out engines --json > build.json
"$run/resnest-edge" keygen release.key
"$run/resnest-edge" sign engines/int8 --key release.key
"$run/resnest-edge" evaluate engines/int8 --images demo:test --trust release.key.pub
"$run/python" - <<'CHECK'
import json, resnest_edge
assert "site-packages" in resnest_edge.__file__, resnest_edge.__file__
for row in json.load(open("build.json"))["results"]:
    assert row["precision_run"] == row["precision"] and row["top1"] > 95, row
CHECK
echo "$(basename "$wheel") on $("$run/python" --version): installed, built, signed and evaluated the demo"
