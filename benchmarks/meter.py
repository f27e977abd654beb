"""Seconds of a training step with a `CoherenceMeter` that is read after every batch, and without.

Run: python benchmarks/meter.py [--quick] [--threads 1]. Needs `pip install -c constraints.txt -e
".[transformers]"`. A step is forward and backward pass and the reading, at fixed weights; networks
of transformers are made from random numbers, without dropout. Both ways take turns; the table shows
the median of the ratios, turn by turn.
"""

import argparse
import platform
import statistics
import time
from datetime import date

import torch
import transformers
from torch.nn import functional as F

from gengap import CoherenceMeter
from gengap._streams import streams
from gengap.models import mlp

WIDTH, LAYERS, HEADS, TOKENS = 256, 4, 4, 500


def perceptron():
    x = torch.randn(100, 1, 28, 28, generator=streams(0)("x"))
    y = torch.randint(10, (100,), generator=streams(0)("y"))
    model = mlp((1, 28, 28), 10, hidden=(256, 256, 256))
    return model, lambda: F.cross_entropy(model(x), y)


def language(build):
    ids = torch.randint(3, TOKENS, (16, 64), generator=streams(0)("tokens"))
    model = build()
    return model, lambda: model(input_ids=ids, labels=ids).loss


def gpt2():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=TOKENS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=64,
        bos_token_id=1, eos_token_id=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    ))  # fmt: skip


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=TOKENS, hidden_size=WIDTH, intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ))  # fmt: skip


def t5():
    return transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=TOKENS, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=4 * WIDTH,
        num_layers=LAYERS // 2, num_heads=HEADS, dropout_rate=0, decoder_start_token_id=0,
    ))  # fmt: skip


def vision():
    x = torch.randn(16, 3, 32, 32, generator=streams(0)("x"))
    y = torch.randint(10, (16,), generator=streams(0)("y"))
    model = transformers.ViTForImageClassification(transformers.ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_labels=10,
        intermediate_size=4 * WIDTH, image_size=32, patch_size=4, hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
    ))  # fmt: skip
    return model, lambda: F.cross_entropy(model(x).logits, y)


NETWORKS = {
    "MLP 784-256-256-256-10, batch 100": perceptron,
    "GPT-2, 4 layers of 256, 16 of 64 tokens": lambda: language(gpt2),
    "Llama, the same": lambda: language(llama),
    "T5, 2 and 2 layers of 256, the same": lambda: language(t5),
    "ViT, 4 layers of 256, 16 of 64 patches": vision,
}


def measure(build, turns):
    """Return the median seconds of a plain step, and the median ratio of a metered one."""
    (plain, loss), (metered, watched) = build(), build()
    seconds, ratios = [], []
    with CoherenceMeter(metered) as meter:
        for turn in range(turns + 3):
            start = time.perf_counter()
            plain.zero_grad()
            loss().backward()
            between = time.perf_counter()
            metered.zero_grad()
            watched().backward()
            meter.read()
            if turn >= 3:
                seconds.append(between - start)
                ratios.append((time.perf_counter() - between) / seconds[-1])
    return statistics.median(seconds), statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{date.today()}, {platform.machine()}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {options.threads} threads.\n"
    )
    print("| network | plain step, ms | with a meter |\n| --- | ---: | ---: |")
    for name, build in NETWORKS.items():
        plain, ratio = measure(build, 1 if options.quick else options.turns)
        print(f"| {name} | {plain * 1e3:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
