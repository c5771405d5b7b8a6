#!/usr/bin/env python3
"""Writes reference.safetensors: what transformers answers with the weights that download.sh fetches, and a tiny Llama with its
random weights, for machines without these.

    pip install torch transformers accelerate gguf safetensors
    HF_HUB_OFFLINE=1 python3 reference.py target/smollm2

transformers makes floats of the file's blocks and its own tokenizer of the file's metadata.
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

# Every so many logits of every so many places are kept: all of them would be 90 MB.
PLACES, TOKENS = 32, 64
QUESTION = "What is the capital of France?"
WRITTEN = 20

here = Path(__file__).parent
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file="model.gguf", dtype=torch.float32, attn_implementation="eager"
).eval()


def encode(text):
    return tokenizer(text, return_tensors="pt").input_ids


text = encode((here / "texts/text.txt").read_text().rstrip())
with torch.no_grad():
    logits = model(text).logits[0, :-1]
likelihoods = logits.double().log_softmax(-1).gather(1, text[0, 1:, None])[:, 0]


def write(prompt):
    """Greedily, one prompt at a time; what comes after an end is -1."""
    ids = encode(prompt)
    written = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=WRITTEN, do_sample=False, repetition_penalty=1.0
    )[0, ids.shape[1] :]
    return torch.nn.functional.pad(written, (0, WRITTEN - len(written)), value=-1)


turn = tokenizer.apply_chat_template(
    [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
).input_ids
torch.manual_seed(0)
tiny = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=61,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
).eval()
for parameter in tiny.parameters():
    # Larger than fresh ones, so that attention and gates are far from flat; around 1 for norms.
    torch.nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.3)
tiny_ids = torch.randint(61, (1, 20))
with torch.no_grad():
    tiny_logits = tiny(tiny_ids).logits[0]

prompts = (here / "texts/prompts.txt").read_text().splitlines()
answers = {
    "text": text[0].int(),
    "turn": turn[0].int(),
    "logits": logits[::PLACES, ::TOKENS].contiguous(),
    "log_likelihoods": likelihoods,
    "written": torch.stack([write(prompt) for prompt in prompts]).int(),
    "tiny_ids": tiny_ids[0].int(),
    "tiny_logits": tiny_logits,
}
answers |= {name: value.contiguous() for name, value in tiny.state_dict().items()}
written_by = {"transformers": transformers.__version__, "torch": torch.__version__}
save_file(answers, here / "src/tests/reference.safetensors", metadata=written_by)
print(f"{len(text[0])} tokens, perplexity {(-likelihoods.mean()).exp():.4f}")
