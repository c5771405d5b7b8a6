#!/usr/bin/env bash
# Makes what is missing (a Python environment, the ONNX models) and runs the bench with the arguments given here.
set -euo pipefail

cd "$(dirname "$0")"
if [ ! -e target/venv/complete ]; then
    python3 -m venv target/venv
    target/venv/bin/pip install --quiet numpy onnx onnx_ir onnxruntime sympy
    touch target/venv/complete
fi
# The marker is newer than the script if the models are those that the script writes.
if [ ! models/complete -nt models.py ]; then
    target/venv/bin/python models.py
    touch models/complete
fi
ORT_DYLIB_PATH="$(target/venv/bin/python models.py --library)"
export ORT_DYLIB_PATH
exec cargo run --quiet --release -- "$@"
