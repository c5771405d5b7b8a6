"""Builds ONNX graphs with the random numbers of src/random.rs."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of src/random.rs, in [-1, 1)."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    x = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).reshape(shape)


class Network:
    """A graph that grows by one layer after another; each method returns the name of its output."""

    def __init__(self, shape: list, kind: int = TensorProto.FLOAT):
        self.nodes, self.weights, self.inputs = [], {}, []
        self.input("x", kind, shape)

    def input(self, name: str, kind: int, shape: list) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def node(self, op: str, *inputs: str, **attributes) -> str:
        return self.several(1, op, *inputs, **attributes)[0]

    def several(self, count: int, op: str, *inputs: str, **attributes) -> list[str]:
        """A node with several outputs."""
        outputs = [f"{op}_{len(self.nodes)}" + f".{at}" * (at > 0) for at in range(count)]
        self.nodes.append(helper.make_node(op, inputs, outputs, outputs[0], **attributes))
        return outputs

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights[name] = value
        return name

    def weight(self, name: str, *shape: int, fan_in: int, gain: float) -> str:
        scale = np.float32(np.sqrt(np.float32(3 * gain) / np.float32(fan_in)))
        return self.constant(name, uniform(name, shape) * scale)

    def bias(self, name: str, length: int) -> str:
        return self.constant(name, uniform(name, (length,)) * np.float32(0.1))

    def conv(self, x: str, name: str, channels: tuple[int, int], kernel: int, pads: list[int], stride=1, groups=1) -> str:
        inputs, outputs = channels[0] // groups, channels[1]
        fan_in = inputs * kernel * kernel
        weight = self.weight(f"{name}.weight", outputs, inputs, kernel, kernel, fan_in=fan_in, gain=2)
        bias = self.bias(f"{name}.bias", outputs)
        return self.node("Conv", x, weight, bias, strides=[stride] * 2, pads=pads, group=groups)

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        weight = self.weight(f"{name}.weight", inputs, outputs, fan_in=inputs, gain=1)
        return self.node("Gemm", x, weight, self.bias(f"{name}.bias", outputs))

    def matmul(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """A linear layer of any rank, as PyTorch exports it."""
        weight = self.weight(f"{name}.weight", inputs, outputs, fan_in=inputs, gain=1)
        return self.node("Add", self.node("MatMul", x, weight), self.bias(f"{name}.bias", outputs))

    def projection(self, x: str, names: list[str], inputs: int, outputs: list[int]) -> str:
        """Linear layers without biases, side by side."""
        names = [f"{name}.weight" for name in names]
        sizes = zip(names, outputs, strict=True)
        parts = [self.weights.pop(self.weight(name, inputs, size, fan_in=inputs, gain=1)) for name, size in sizes]
        return self.node("MatMul", x, self.constant("+".join(names), np.concatenate(parts, 1)))

    def layer_norm(self, x: str, name: str, width: int) -> str:
        gamma = self.constant(f"{name}.gamma", uniform(f"{name}.gamma", (width,)) * np.float32(0.1) + np.float32(1))
        return self.node("LayerNormalization", x, gamma, self.bias(f"{name}.beta", width), axis=-1, epsilon=1e-12)

    def embedding(self, ids: str, name: str, count: int, width: int) -> str:
        return self.node("Gather", self.weight(f"{name}.weight", count, width, fan_in=count, gain=1), ids, axis=0)

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Div", x, self.number("sqrt_2", np.sqrt(2))))
        return self.node("Mul", self.node("Mul", x, self.node("Add", erf, self.number("one", 1))), self.number("half", 0.5))

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.float32(value))

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.number("zero", 0), self.number("six", 6))

    def classifier(self, x: str, channels: int, classes: int) -> str:
        return self.linear(self.node("Flatten", self.node("GlobalAveragePool", x)), "classifier", channels, classes)

    def save(self, output: str, shape: list, path: Path) -> None:
        """Operators of ONNX Runtime alone are not checked."""
        self.nodes.append(helper.make_node("Identity", [output], ["y"]))
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, path.stem, self.inputs, [y], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)])
        model.ir_version = 8  # newer ones are refused by older runtimes
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
