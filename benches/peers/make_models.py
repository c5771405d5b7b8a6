"""Writes the ONNX models of the layers that `peers` times, and prints where ONNX Runtime's library is.

models/linear_{k}_{n}.f32.onnx   y[m, n] = x[m, k] w + b, for any m
models/linear_{k}_{n}.int8.onnx  the same, dynamically quantized: INT8 weights per channel, UINT8 activations
models/conv_{in}_{out}_{size}_{kernel}_{stride}_{padding}_{groups}.f32.onnx   a 2D convolution of one image
models/conv_....int8.onnx        the same, statically quantized: the scales of input and output come from a calibration

Float models are checked against numpy, and sessions with quantized convolutions for whether they convolve integers.
Needs numpy, onnx and onnxruntime.
"""

import logging
import tempfile
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


def numpy_linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ weight + bias


def numpy_conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Of one image; the depth of the filters tells the number of groups."""
    outputs, depth, *kernel = weight.shape
    image = np.pad(x[0], [(0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel, axis=(1, 2))[:, ::stride, ::stride]
    groups, places = len(image) // depth, windows.shape[1:3]
    windows = windows.reshape(groups, depth, *places, *kernel)
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(groups, -1, places[0] * places[1])
    sums = weight.reshape(groups, outputs // groups, -1) @ columns
    return sums.reshape(1, outputs, *places) + bias.reshape(-1, 1, 1)


def check_floats(path: Path, x: np.ndarray, layer) -> None:
    """`layer` computes in numpy from the input, the weight and the bias."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], layer(x, weights["w"], weights["b"]), atol=1e-4)


def check_integers(path: Path) -> None:
    """The session, not the file, decides how it convolves."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3  # or it warns that this file is for machines like this one only
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        nodes = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    if "QLinearConv" not in nodes or "Conv" in nodes:
        raise SystemExit(f"{path} does not convolve integers: its session holds {nodes}")


def finished(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8  # newer ones are refused by older runtimes
    return model


class Normal(CalibrationDataReader):
    """What the layers are timed with: standard normal images."""

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator):
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
        check_floats(path, rng.standard_normal((2, k), np.float32), numpy_linear)
        int8 = models / f"linear_{k}_{n}.int8.onnx"
        quantize_dynamic(path, int8, per_channel=True, weight_type=QuantType.QInt8)
    for shape in CONVS:
        name = "_".join(map(str, shape))
        inputs, _, size, _, stride, padding, _ = shape
        path, int8 = models / f"conv_{name}.f32.onnx", models / f"conv_{name}.int8.onnx"
        onnx.save(conv(shape, rng), path)
        image = rng.standard_normal((1, inputs, size, size), np.float32)
        check_floats(path, image, lambda x, w, b: numpy_conv(x, w, b, stride, padding))
        quantize_static(
            path,
            int8,
            Normal(image.shape, rng),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        check_integers(int8)
    print(f"export ORT_DYLIB_PATH={library()}")


if __name__ == "__main__":
    main()
