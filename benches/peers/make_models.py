"""Writes the ONNX models of the layers that `peers` times, and prints where ONNX Runtime's library is.

models/linear_{k}_{n}.f32.onnx   y[m, n] = x[m, k] w + b, for any m
models/linear_{k}_{n}.int8.onnx  the same, dynamically quantized: INT8 weights per channel, UINT8 activations
models/conv_{in}_{out}_{size}_{kernel}_{stride}_{padding}_{groups}.f32.onnx   a 2D convolution of one image
models/conv_....int8.onnx        the same, statically quantized: the scales of input and output come from a calibration

Needs numpy, onnx and onnxruntime.
"""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

# The layers of src/shape.rs.
LINEARS = [(768, 768), (1152, 6912), (4096, 4096), (1024, 1024), (768, 3072), (3072, 768)]
# in, out, size, kernel, stride, padding, groups
CONVS = [
    (64, 64, 56, 3, 1, 1, 1),
    (128, 128, 28, 3, 1, 1, 1),
    (256, 256, 14, 3, 1, 1, 1),
    (512, 512, 7, 3, 1, 1, 1),
    (64, 256, 56, 1, 1, 0, 1),
    (1024, 256, 14, 1, 1, 0, 1),
    (3, 64, 224, 7, 2, 3, 1),
    (144, 144, 56, 3, 1, 1, 144),
]


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
    return finished(graph)


def conv(shape: tuple[int, ...], rng: np.random.Generator) -> onnx.ModelProto:
    inputs, outputs, size, kernel, stride, padding, groups = shape
    fan_in = inputs // groups * kernel * kernel
    weight = rng.standard_normal((outputs, inputs // groups, kernel, kernel)) / np.sqrt(fan_in)
    bias = 0.1 * rng.standard_normal(outputs)
    side = (size + 2 * padding - kernel) // stride + 1
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], strides=[stride] * 2, pads=[padding] * 4, group=groups
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs, side, side])],
        [numpy_helper.from_array(weight.astype(np.float32), "w"), numpy_helper.from_array(bias.astype(np.float32), "b")],
    )
    return finished(graph)


def finished(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # newer ones are refused by older runtimes
    return model


class Normal(CalibrationDataReader):
    """What the layers are timed with: standard normal images."""

    def __init__(self, shape: list[int], rng: np.random.Generator):
        self.images = iter([{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(8)])

    def get_next(self):
        return next(self.images, None)


def library() -> Path:
    folder = Path(onnxruntime.__file__).parent / "capi"
    names = ("libonnxruntime.so*", "libonnxruntime.*dylib", "onnxruntime.dll")
    return next(path for name in names for path in sorted(folder.glob(name)))


def main() -> None:
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer advises a preparation that changes nothing here
    models = Path(__file__).parent / "models"
    models.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for k, n in LINEARS:
        path = models / f"linear_{k}_{n}.f32.onnx"
        onnx.save(linear(k, n, rng), path)
        int8 = models / f"linear_{k}_{n}.int8.onnx"
        quantize_dynamic(path, int8, per_channel=True, weight_type=QuantType.QInt8)
    for shape in CONVS:
        name = "_".join(map(str, shape))
        path = models / f"conv_{name}.f32.onnx"
        onnx.save(conv(shape, rng), path)
        quantize_static(
            path,
            models / f"conv_{name}.int8.onnx",
            Normal([1, shape[0], shape[2], shape[2]], rng),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    print(f"export ORT_DYLIB_PATH={library()}")


if __name__ == "__main__":
    main()
