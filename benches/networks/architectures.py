"""The networks of src/networks/ as ONNX graphs, with the same names, weights and inputs."""

from pathlib import Path

import numpy as np
from onnx import TensorProto

from graph import MICROSOFT, Network, uniform

SIDE, CLASSES = 224, 1000

# Stages of src/networks/mobile.rs: blocks, kernel, stride, expansion, channels.
EFFICIENTNET_LITE0 = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
MOBILENET_V2 = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (3, 3, 2, 6, 32),
    (4, 3, 2, 6, 64),
    (3, 3, 1, 6, 96),
    (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320),
]
# Stages of src/networks/resnet.rs: blocks, channels inside, stride.
RESNET_50 = [(3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)]


def around(kernel: int, _stride: int, _size: int) -> list[int]:
    """PyTorch's: the same on all sides."""
    return [kernel // 2] * 4


def same(kernel: int, stride: int, size: int) -> list[int]:
    """TensorFlow's: where one more row is needed on one side, it is the last one."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2] * 2 + [total - total // 2] * 2


def mobile(stages: list, padding, path: Path) -> None:
    net, channels, size = Network(["n", 3, SIDE, SIDE]), 32, SIDE // 2
    x = net.relu6(net.conv("x", "stem", (3, channels), 3, padding(3, 2, SIDE), 2))
    index = 0
    for blocks, kernel, first_stride, expansion, outputs in stages:
        for at in range(blocks):
            stride, wide, name, before = first_stride if at == 0 else 1, channels * expansion, f"blocks.{index}", x
            if wide != channels:
                x = net.relu6(net.conv(x, f"{name}.expand", (channels, wide), 1, [0] * 4))
            pads = padding(kernel, stride, size)
            x = net.relu6(net.conv(x, f"{name}.depthwise", (wide, wide), kernel, pads, stride, wide))
            x = net.conv(x, f"{name}.project", (wide, outputs), 1, [0] * 4)
            if (channels, stride) == (outputs, 1):
                x = net.node("Add", x, before)
            channels, size, index = outputs, size // stride, index + 1
    x = net.relu6(net.conv(x, "head", (channels, 1280), 1, [0] * 4))
    net.save(net.classifier(x, 1280, CLASSES), ["n", CLASSES], path)


def resnet(path: Path) -> None:
    net, channels = Network(["n", 3, SIDE, SIDE]), 64
    x = net.node("Relu", net.conv("x", "stem", (3, channels), 7, [3] * 4, 2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    index = 0
    for blocks, width, first_stride in RESNET_50:
        for at in range(blocks):
            stride, wide, name, before = first_stride if at == 0 else 1, width * 4, f"blocks.{index}", x
            x = net.node("Relu", net.conv(x, f"{name}.reduce", (channels, width), 1, [0] * 4))
            x = net.node("Relu", net.conv(x, f"{name}.middle", (width, width), 3, [1] * 4, stride))
            x = net.conv(x, f"{name}.expand", (width, wide), 1, [0] * 4)
            if channels != wide:
                before = net.conv(before, f"{name}.shortcut", (channels, wide), 1, [0] * 4, stride)
            x = net.node("Relu", net.node("Add", x, before))
            channels, index = wide, index + 1
    net.save(net.classifier(x, channels, CLASSES), ["n", CLASSES], path)


# The sizes of src/networks/minilm.rs.
LAYERS, HEADS, WIDTH, INNER, VOCABULARY, POSITIONS = 6, 12, 384, 1536, 30522, 512


def minilm(path: Path) -> None:
    """Node for node what PyTorch exports for a BERT, so that ONNX Runtime's optimizer recognizes it."""
    net = Network(["n", "tokens"], TensorProto.INT64)
    length = net.node("Gather", net.node("Shape", "x"), net.constant("second", np.int64(1)), axis=0)
    length = net.node("Unsqueeze", length, net.integers("axis_0", 0))
    positions = net.constant("positions", np.arange(POSITIONS, dtype=np.int64)[None])
    positions = net.node("Slice", positions, net.integers("from", 0), length, net.integers("axis_1", 1))
    x = net.node(
        "Add",
        net.embedding("x", "token", VOCABULARY, WIDTH),
        net.embedding(positions, "position", POSITIONS, WIDTH),
    )
    x = net.layer_norm(x, "norm", WIDTH)
    for at in range(LAYERS):
        name = f"encoder.layers.{at}"
        x = net.layer_norm(net.node("Add", attention(net, x, f"{name}.mha"), x), f"{name}.norm_1", WIDTH)
        inner = net.gelu(net.matmul(x, f"{name}.pwff.linear_inner", WIDTH, INNER))
        outer = net.matmul(inner, f"{name}.pwff.linear_outer", INNER, WIDTH)
        x = net.layer_norm(net.node("Add", outer, x), f"{name}.norm_2", WIDTH)
    x = net.node("ReduceMean", x, axes=[1], keepdims=0)
    net.save(x, ["n", WIDTH], path)


def attention(net: Network, x: str, name: str) -> str:
    heads = net.integers("heads", 0, 0, HEADS, WIDTH // HEADS)
    query, key, value = (
        net.node("Reshape", net.matmul(x, f"{name}.{part}", WIDTH, WIDTH), heads) for part in ("query", "key", "value")
    )
    query, value = (net.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
    key = net.node("Transpose", key, perm=[0, 2, 3, 1])
    scores = net.node("Div", net.node("MatMul", query, key), net.number("root", np.sqrt(WIDTH // HEADS)))
    context = net.node("MatMul", net.node("Softmax", scores, axis=-1), value)
    context = net.node("Transpose", context, perm=[0, 2, 1, 3])
    context = net.node("Reshape", context, net.integers("merged", 0, 0, WIDTH))
    return net.matmul(context, f"{name}.output", WIDTH, WIDTH)


# The sizes of src/networks/lstm.rs.
HIDDEN = 512


def lstm(path: Path) -> None:
    net = Network(["n", "steps", HIDDEN])
    x = net.node("Transpose", "x", perm=[1, 0, 2])
    for name in ("first", "second"):
        weights = [lstm_weight(net, name, "input_transform"), lstm_weight(net, name, "hidden_transform")]
        x = net.node("LSTM", x, *weights, lstm_biases(net, name), hidden_size=HIDDEN)
        x = net.node("Squeeze", x, net.integers("axis_1", 1))
    last = net.node("Gather", x, net.constant("last", np.int64(-1)), axis=0)
    net.save(last, ["n", HIDDEN], path)


# In ONNX's order.
GATES = ("input", "output", "forget", "cell")


def lstm_weight(net: Network, layer: str, part: str) -> str:
    scale = np.float32(np.sqrt(np.float32(3) / np.float32(HIDDEN)))
    gates = [uniform(f"{layer}.{gate}_gate.{part}.weight", (HIDDEN, HIDDEN)).T * scale for gate in GATES]
    return net.constant(f"{layer}.{part}", np.concatenate(gates)[None])


def lstm_biases(net: Network, layer: str) -> str:
    parts = [(gate, part) for part in ("input_transform", "hidden_transform") for gate in GATES]
    biases = [uniform(f"{layer}.{gate}_gate.{part}.bias", (HIDDEN,)) for gate, part in parts]
    return net.constant(f"{layer}.biases", np.concatenate(biases)[None] * np.float32(0.1))


# The sizes of src/networks/smollm2.rs.
SMOLLM2 = {"layers": 30, "heads": 9, "kv_heads": 3, "head": 64, "width": 576, "inner": 1536, "vocabulary": 49152}
POSITION, THETA, EPSILON = 128, 100_000.0, 1e-5


def smollm2(path: Path) -> None:
    """With the operators that ONNX Runtime's own builder of language models takes, and products that share their input in one."""
    sizes = SMOLLM2
    width, vocabulary = sizes["width"], sizes["vocabulary"]
    net = Network([1, 1], TensorProto.INT64)
    x, skip = net.embedding("x", "token", vocabulary, width), None
    for at in range(sizes["layers"]):
        name = f"layers.{at}"
        y, skip = rms_norm(net, x, skip, f"{name}.attention_norm")
        y = grouped_attention(net, y, at)
        y, skip = rms_norm(net, y, skip, f"{name}.inner_norm")
        gate, up = (net.projection(y, [f"{name}.{part}"], width, [sizes["inner"]]) for part in ("gate", "up"))
        gate = net.node("Mul", gate, net.node("Sigmoid", gate))
        x = net.projection(net.node("Mul", gate, up), [f"{name}.down"], sizes["inner"], [width])
    x, _ = rms_norm(net, x, skip, "norm")
    head = net.constant("head", np.ascontiguousarray(net.weights["token.weight"].T))
    x = net.node("Squeeze", net.node("MatMul", x, head), net.integers("axis_1", 1))
    net.save(x, [1, vocabulary], path)


def rms_norm(net: Network, x: str, skip: str | None, name: str) -> tuple[str, str]:
    """The norm of a sum, and the sum."""
    gamma = uniform(f"{name}.gamma", (SMOLLM2["width"],)) * np.float32(0.1) + np.float32(1)
    gamma = net.constant(f"{name}.gamma", gamma)
    if skip is None:
        mean = net.node("ReduceMean", net.node("Mul", x, x), axes=[-1])
        root = net.node("Sqrt", net.node("Add", mean, net.number("epsilon", EPSILON)))
        return net.node("Mul", net.node("Div", x, root), gamma), x
    outputs = net.several(4, "SkipSimplifiedLayerNormalization", x, skip, gamma, domain=MICROSOFT, epsilon=EPSILON)
    return outputs[0], outputs[3]


def grouped_attention(net: Network, x: str, layer: int) -> str:
    width, heads, kv_heads, head = (SMOLLM2[size] for size in ("width", "heads", "kv_heads", "head"))
    name = f"layers.{layer}"
    parts = [f"{name}.{part}" for part in ("query", "key", "value")]
    x = net.projection(x, parts, width, [heads * head, kv_heads * head, kv_heads * head])
    shape = [1, kv_heads, POSITION, head]
    caches = [net.input(f"{part}.{layer}", TensorProto.FLOAT, shape) for part in ("keys", "values")]
    lengths = [net.constant("before", np.array([POSITION], np.int32)), net.constant("all", np.int32(POSITION + 1))]
    angles = np.arange(POSITION + 1)[:, None] * THETA ** (-np.arange(0, head, 2) / head)
    rotation = [net.constant("cos", np.cos(angles).astype(np.float32)), net.constant("sin", np.sin(angles).astype(np.float32))]
    inputs = [x, "", "", *caches, *lengths, *rotation]
    attributes = {"num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": 1, "rotary_interleaved": 1}
    context = net.several(3, "GroupQueryAttention", *inputs, domain=MICROSOFT, **attributes)[0]
    return net.projection(context, [f"{name}.output"], heads * head, [width])
