"""Writes the ONNX models of the linear layers that `peers` times, and prints where ONNX Runtime's library is.

models/linear_{k}_{n}.f32.onnx   y[m, n] = x[m, k] w + b, for any m
models/linear_{k}_{n}.int8.onnx  the same, dynamically quantized: INT8 weights per channel, UINT8 activations

Needs numpy, onnx and onnxruntime.
"""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

# The layers of Shape::ALL in src/task.rs.
LAYERS = [(768, 768), (1152, 6912), (4096, 4096), (1024, 1024), (768, 3072), (3072, 768)]


def linear(k: int, n: int, rng: np.random.Generator) -> onnx.ModelProto:
    weight = (rng.standard_normal((k, n)) / np.sqrt(k)).astype(np.float32)
    bias = (0.1 * rng.standard_normal(n)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # newer ones are refused by older runtimes
    return model


def library() -> Path:
    folder = Path(onnxruntime.__file__).parent / "capi"
    names = ("libonnxruntime.so*", "libonnxruntime.*dylib", "onnxruntime.dll")
    return next(path for name in names for path in sorted(folder.glob(name)))


def main() -> None:
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer advises a preparation that changes nothing here
    models = Path(__file__).parent / "models"
    models.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for k, n in LAYERS:
        path = models / f"linear_{k}_{n}.f32.onnx"
        onnx.save(linear(k, n, rng), path)
        int8 = models / f"linear_{k}_{n}.int8.onnx"
        quantize_dynamic(path, int8, per_channel=True, weight_type=QuantType.QInt8)
    print(f"export ORT_DYLIB_PATH={library()}")


if __name__ == "__main__":
    main()
