#!/bin/sh
# Each dependency that has a border is named only behind it (style: "Borders, each with its place").
set -eu
cd "$(dirname "$0")/.."
fail=0
check() { # name, pattern, allowed path pattern
    found=$(grep -rlE "$2" rust --include='*.rs' | grep -vE "$3" || true)
    if [ -n "$found" ]; then
        echo "$1 is named outside its border: $found"
        fail=1
    fi
}
check usearch '\busearch::' '^rust/nextlong/src/index/'
check numkong '\bnumkong::' '^rust/nextlong/(src/index/|tests/kernels_index)'
check tokenizers '\btokenizers::' '^rust/nextlong/src/tokenize'
check pyo3 '\bpyo3::' '^rust/nextlong-py/'
exit $fail
