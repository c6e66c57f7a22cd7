#!/bin/sh
# Builds the wheel and the sdist, and uses the wheel in a fresh environment outside the repository.
# Usage: wheel.sh PYTHON
set -eu
python=$1
cd "$(dirname "$0")/.."
"$python" -m pip install --quiet 'maturin>=1.9,<2'
rm -rf dist
"$python" -m maturin build --release --quiet --out dist
"$python" -m maturin sdist --out dist >/dev/null
wheel=$(ls dist/nextlong_rs-*-abi3-*.whl)
size=$(wc -c <"$wheel")
echo "wheel: $wheel, $size bytes"
echo "sdist: $(ls dist/*.tar.gz)"
[ "$size" -lt 15000000 ] || { echo "the wheel passes 15 MB"; exit 1; }
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
wheel=$(pwd)/$wheel
"$python" -m venv "$away/venv"
cd "$away"
venv/bin/python -m pip install --quiet "$wheel"
venv/bin/nextlong --help >/dev/null
venv/bin/python -c 'import nextlong_rs; print("import", nextlong_rs.__version__)'
venv/bin/nextlong synthesize --sample --output out --seq-len 16k --num-sequences 2 --no-progress
venv/bin/python -m pip install --quiet "$wheel[arrow]"
venv/bin/nextlong inspect out -n 1 | head -n 3
ls out/part-00000.parquet out/manifest.json
