#!/usr/bin/env python3
"""Writes src/reference.safetensors: inputs for the models, and what ONNX Runtime answers to them in float.

    pip install numpy scipy soundfile pillow safetensors onnx onnxruntime
    python3 reference.py "$(./download.sh)" jfk.flac

jfk.flac is a recording of 1961 in the public domain, from the tests of https://github.com/openai/whisper. The words are drawn.
"""

import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
import PIL
import soundfile
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import save_file
from scipy.signal import resample_poly

RATE = 16_000
CHUNK, CONTEXT = 512, 64
CHUNKS = 64
FRAMES, WINDOW = 64, 320
WORDS = ["Rust4", "int8", "b7Kx2", "model"]
WORD_SIZE = (176, 64)
# Every so many of the 8210 classes, and of the map's pixels in both directions.
CLASS_STEP, PIXEL_STEP = 64, 4
# Every so many of the 1024 values that the LSTM answers at each place.
VALUE_STEP = 8

folder, recording = map(Path, sys.argv[1:])
random = numpy.random.default_rng(8)


def session(name):
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])


def speech():
    """The first two seconds, with 16 bits for a sample."""
    samples, rate = soundfile.read(recording)
    samples = resample_poly(samples.mean(axis=1), RATE, rate)[: CHUNKS * CHUNK]
    return numpy.round(samples * 32767).astype(numpy.int16)


def features(samples):
    """Logarithms of the power of each frequency, as nsnet2 was trained with, of noisy speech."""
    noisy = samples / 32768 + 0.01 * random.standard_normal(len(samples))
    window = numpy.sqrt(numpy.hanning(WINDOW + 1)[:WINDOW])
    # Speech begins after a third of a second.
    first = range(4000, 4000 + FRAMES * WINDOW // 2, WINDOW // 2)
    spectra = numpy.fft.rfft([window * noisy[start : start + WINDOW] for start in first])
    return numpy.log10(numpy.maximum(numpy.abs(spectra) ** 2, 1e-12)).astype(numpy.float16)


def word(text):
    """A word as a captcha shows it: turned a little, with a line through it and noise."""
    image = Image.new("L", WORD_SIZE, 255)
    draw = ImageDraw.Draw(image)
    draw.text((16, 8), text, fill=30, font=ImageFont.load_default(44))
    image = image.rotate(random.uniform(-5, 5), Image.Resampling.BILINEAR, fillcolor=255)
    ImageDraw.Draw(image).line((0, random.uniform(0, 64), 176, random.uniform(0, 64)), fill=90, width=2)
    noisy = numpy.asarray(image) + random.normal(0, 12, WORD_SIZE[::-1])
    return numpy.clip(numpy.round(noisy), 0, 255).astype(numpy.uint8)


def detect_speech(samples):
    """The probability of speech in each chunk, which is heard after the end of the last one, and the state after all."""
    model = session("silero_vad.onnx")
    state = numpy.zeros((2, 1, 128), numpy.float32)
    samples = numpy.concatenate([numpy.zeros(CONTEXT), samples / 32768]).astype(numpy.float32)
    probabilities = []
    for start in range(0, CHUNKS * CHUNK, CHUNK):
        heard = samples[None, start : start + CONTEXT + CHUNK]
        probability, state = model.run(None, {"input": heard, "sr": numpy.array(RATE), "state": state})
        probabilities.append(probability[0, 0])
    return numpy.array(probabilities), state


def lstm(image):
    """The inputs of ddddocr's LSTM where it reads an image, rounded to half precision, and its answers."""
    model = onnx.shape_inference.infer_shapes(onnx.load(folder / "ddddocr.onnx"))
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    inputs, outputs = node.input[0], node.output[0]
    whole = onnx.utils.Extractor(model).extract_model(["input1"], [inputs]).SerializeToString()
    (features,) = onnxruntime.InferenceSession(whole).run(None, {"input1": image})
    features = features.astype(numpy.float16)
    alone = onnx.utils.Extractor(model).extract_model([inputs], [outputs])
    (answers,) = onnxruntime.InferenceSession(alone.SerializeToString()).run(None, {inputs: features.astype(numpy.float32)})
    return features, answers


samples = speech()
spectra = features(samples)
words = numpy.stack([word(text) for text in WORDS])
probabilities, state = detect_speech(samples)
(gains,) = session("nsnet2.onnx").run(None, {"input": spectra[None].astype(numpy.float32)})
reader = session("ddddocr.onnx")
images = words[:, None, None].astype(numpy.float32) / 255
scores = numpy.stack([reader.run(None, {"input1": image})[0] for image in images])
lstm_inputs, lstm_answers = lstm(images[0])
# Two words above two words, in grey.
page = numpy.concatenate([numpy.concatenate(list(words[:2]), axis=1), numpy.concatenate(list(words[2:]), axis=1)])
page = numpy.repeat((page.astype(numpy.float32) / 127.5 - 1)[None, None], 3, axis=1)
(text,) = session("ppocr_det.onnx").run(None, {"x": page})
save_file(
    {
        "speech": samples,
        "spectra": spectra,
        "words": words,
        "lstm": lstm_inputs,
        "silero_vad.probabilities": probabilities,
        "silero_vad.state": state,
        "nsnet2.gains": gains,
        "ddddocr.scores": numpy.ascontiguousarray(scores[:, :, 0, ::CLASS_STEP]),
        "ddddocr.classes": scores[:, :, 0].argmax(axis=-1).astype(numpy.int16),
        "lstm.answers": numpy.ascontiguousarray(lstm_answers.reshape(len(lstm_inputs), -1)[:, ::VALUE_STEP]),
        "ppocr_det.text": numpy.ascontiguousarray(text[0, 0, ::PIXEL_STEP, ::PIXEL_STEP]),
    },
    Path(__file__).parent / "src" / "reference.safetensors",
    metadata={"onnxruntime": onnxruntime.__version__, "pillow": PIL.__version__},
)
print(f"speech {probabilities.round(2)}")
print(f"gains {gains.shape} {gains.mean():.3f}, scores {scores.shape}, text {text.shape} {text.mean():.3f} {text.max():.3f}")
print(f"LSTM {lstm_inputs.shape} up to {abs(lstm_inputs).max():.1f}, {lstm_answers.shape} up to {abs(lstm_answers).max():.2f}")
print("classes", *scores[:, :, 0].argmax(axis=-1).tolist(), sep="\n")
