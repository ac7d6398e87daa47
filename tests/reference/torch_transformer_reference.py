# SPDX-License-Identifier: MIT
"""torch.nn.Transformer reads what to_torch_state_dict has made, and the reverse.

    python torch_transformer_reference.py FOLDER            writes FOLDER/torch/python_NAME.safetensors: a random
                                                            torch.nn.Transformer, inputs and output
    python torch_transformer_reference.py --verify FOLDER   reads FOLDER/torch/ours_NAME.safetensors, with state dict, inputs
                                                            and logits, which tests/unit/fold/python_test.cpp has written
"""

import math
import pathlib
import sys

import torch

from tensors import imported

safetensors_torch = imported("safetensors.torch")

DIM, HEADS, INNER, WORDS = 16, 2, 24, 11
ACTIVATIONS = {"post_relu": "relu", "pre_gelu": "gelu", "deepnorm": "relu", "admin": "relu", "untied": "relu"}


class Translator(torch.nn.Transformer):
    """torch.nn.Transformer with what stands beside it."""

    def __init__(self, name, scaled):
        super().__init__(DIM, HEADS, 2, 3, INNER, 0.0, activation=ACTIVATIONS[name], batch_first=True, norm_first=name.startswith("pre"))
        self.src_embedding = torch.nn.Embedding(WORDS, DIM)
        self.tgt_embedding = torch.nn.Embedding(WORDS, DIM)
        self.head = torch.nn.Linear(DIM, WORDS, bias=False)
        if scaled:
            self.encoder.register_buffer("input_scale", torch.ones(DIM))
            self.decoder.register_buffer("input_scale", torch.ones(DIM))

    def embed(self, tokens, embedding, stack):
        positions = torch.arange(tokens.shape[1]).unsqueeze(1) * torch.exp(torch.arange(0, DIM, 2) * (-math.log(10000) / DIM))
        x = embedding(tokens) * math.sqrt(DIM) + torch.stack([positions.sin(), positions.cos()], 2).flatten(1)
        return x * getattr(stack, "input_scale", 1.0)

    def logits(self, src, tgt):
        padding = src == 0
        y = self(
            self.embed(src, self.src_embedding, self.encoder),
            self.embed(tgt, self.tgt_embedding, self.decoder),
            tgt_mask=self.generate_square_subsequent_mask(tgt.shape[1]),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return self.head(y)


def verify(folder):
    for name in ACTIVATIONS:
        tensors = safetensors_torch.load_file(folder / f"ours_{name}.safetensors")
        src, tgt, logits = (tensors.pop(key) for key in ("src", "tgt", "logits"))
        model = Translator(name, "encoder.input_scale" in tensors).eval()
        for alias in ("src_embedding.weight", "tgt_embedding.weight"):  # stored once where they are tied
            tensors.setdefault(alias, tensors["head.weight"])
        model.load_state_dict(tensors)
        with torch.no_grad():
            difference = (model.logits(src, tgt) - logits).abs().max().item()
        print(f"{name}: logits up to {logits.abs().max().item():.3g}, largest difference {difference:.3g}")
        assert difference < 1e-5 * max(1.0, logits.abs().max().item()), name


def main():
    if sys.argv[1] == "--verify":
        verify(pathlib.Path(sys.argv[2]) / "torch")
        return
    folder = pathlib.Path(sys.argv[1]) / "torch"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    torch.manual_seed(0)
    src, tgt = torch.randint(1, WORDS, (2, 5)), torch.randint(1, WORDS, (2, 4))
    src[1, 3:] = 0
    for name in ("post_relu", "pre_gelu"):
        model = Translator(name, scaled=False).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.25 * torch.randn_like(parameter))
            logits = model.logits(src, tgt)
        tensors = {key: value.clone() for key, value in model.state_dict().items()}
        safetensors_torch.save_file({**tensors, "src": src, "tgt": tgt, "logits": logits}, folder / f"python_{name}.safetensors")


if __name__ == "__main__":
    main()
