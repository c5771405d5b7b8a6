"""Writes the ONNX models of the networks that `networks` times.

models/{name}.f32.onnx   the network of src/networks/, with the same names, weights and inputs
models/{name}.int8.onnx  convolutional networks: statically quantized, QDQ, INT8 weights per channel, UINT8 activations;
                         MiniLM and LSTM: dynamically quantized, INT8 weights per channel, MiniLM in both files after the
                         transformer optimizer; SmolLM2: 8-bit weights in blocks of 128, INT8 inputs

What a session makes of each INT8 file is printed, and checked for whether it computes in integers.
Needs numpy, onnx, onnx_ir, onnxruntime and sympy. `models.py NAME` writes the models of one network only, `models.py --library` prints
where ONNX Runtime's library is.
"""

import logging
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.optimizer import optimize_model

from architectures import EFFICIENTNET_LITE0, HEADS, MOBILENET_V2, SIDE, WIDTH, around, lstm, minilm, mobile, resnet, same, smollm2
from graph import uniform

MODELS = Path(__file__).parent / "models"


class Images(CalibrationDataReader):
    """Images like the one that is timed, and not that one."""

    def __init__(self, count: int):
        shape, root = (1, 3, SIDE, SIDE), np.float32(np.sqrt(3))
        self.images = iter([{"x": uniform(f"calibration.{at}", shape) * root} for at in range(count)])

    def get_next(self):
        return next(self.images, None)


def quantize_convolutions(path: Path, int8: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            int8,
            Images(8),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def nodes_of_session(path: Path) -> Counter:
    """The session, not the file, decides what is computed."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 3  # or it warns that this file is for machines like this one only
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


def convolutional(write, path: Path, int8: Path) -> None:
    write(path)
    quantize_convolutions(path, int8)


def quantize_matrices(path: Path, int8: Path) -> None:
    # The type that the quantizer's shape inference does not find behind fused nodes.
    options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(path, int8, per_channel=True, weight_type=QuantType.QInt8, extra_options=options)


def dynamic(write, path: Path, int8: Path) -> None:
    write(path)
    quantize_matrices(path, int8)


def decoder(write, path: Path, int8: Path) -> None:
    """Weights in blocks: for one token half the time of `quantize_dynamic`. Level 4 makes inputs INT8, too."""
    write(path)
    config = DefaultWeightOnlyQuantConfig(block_size=128, is_symmetric=True, accuracy_level=4, bits=8)
    quantizer = MatMulNBitsQuantizer(onnx.load(path), algo_config=config)
    quantizer.process()
    onnx.save(quantizer.model.model, int8)


def transformer(write, path: Path, int8: Path) -> None:
    write(path)
    # Level 0: the optimizer's own fusions; a session does the rest when it loads the file.
    fused = optimize_model(str(path), "bert", HEADS, WIDTH, opt_level=0)
    print(f"the transformer optimizer has fused {fused.get_fused_operator_statistics()}")
    fused.save_model_to_file(str(path))
    quantize_matrices(path, int8)


def library() -> Path:
    folder = Path(onnxruntime.__file__).parent / "capi"
    names = ("libonnxruntime.so*", "libonnxruntime.*dylib", "onnxruntime.dll")
    return next(path for name in names for path in sorted(folder.glob(name)))


# How a network is quantized, what writes its float file, and which nodes a session with the other file must have and not have.
NETWORKS = {
    "efficientnet_lite0": (convolutional, partial(mobile, EFFICIENTNET_LITE0, same), "QLinearConv", "Conv"),
    "mobilenet_v2": (convolutional, partial(mobile, MOBILENET_V2, around), "QLinearConv", "Conv"),
    "resnet50": (convolutional, resnet, "QLinearConv", "Conv"),
    "minilm": (transformer, minilm, "QAttention", "MatMul"),
    "lstm": (dynamic, lstm, "DynamicQuantizeLSTM", "LSTM"),
    "smollm2": (decoder, smollm2, "MatMulNBits", "MatMul"),
}


def make(name: str) -> None:
    quantize, write, integers, floats = NETWORKS[name]
    path, int8 = MODELS / f"{name}.f32.onnx", MODELS / f"{name}.int8.onnx"
    quantize(write, path, int8)
    nodes = nodes_of_session(int8)
    print(f"{name}: {dict(nodes)}")
    if not nodes[integers] or nodes[floats] or nodes[f"Fused{floats}"]:
        raise SystemExit(f"{int8} does not compute in integers")


def main() -> None:
    if sys.argv[1:] == ["--library"]:
        print(library())
        return
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer advises a preparation that has been done
    MODELS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or NETWORKS:
        make(name)


if __name__ == "__main__":
    main()
