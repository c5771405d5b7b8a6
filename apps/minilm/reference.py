#!/usr/bin/env python3
"""Writes reference.safetensors: what transformers answers for the sentences of sentences.json.

    pip install torch transformers safetensors
    HF_HUB_OFFLINE=1 python3 reference.py target/minilm
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

here = Path(__file__).parent
folder = sys.argv[1]
texts = json.loads((here / "sentences.json").read_text())
sentences = texts["queries"] + texts["passages"]

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()


def embed(sentence):
    """One at a time, so that nothing is padded: mean over the tokens, length 1."""
    tokens = tokenizer(sentence, return_tensors="pt")
    with torch.no_grad():
        states = model(**tokens).last_hidden_state
    return torch.nn.functional.normalize(states.mean(dim=1), dim=1)


embeddings = torch.cat([embed(sentence) for sentence in sentences])
written_by = {"transformers": transformers.__version__, "torch": torch.__version__}
save_file({"embeddings": embeddings.contiguous()}, here / "reference.safetensors", metadata=written_by)
print(f"{len(sentences)} sentences, {embeddings.shape[1]} numbers each")
