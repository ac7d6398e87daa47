# SPDX-License-Identifier: MIT
"""What microsoft/torchscale's own package computes, for tests/unit/nn/torchscale_test.cpp.

    python torchscale_reference.py OUTPUT_FOLDER

fills OUTPUT_FOLDER/torchscale/ with, for DeepNorm and Sub-LN and each kind of model, NAME.pt: for
every stack alpha, and of every matrix of every layer the standard deviation and the largest
absolute value after construction; then, for weights moved away from there, inputs, outputs and
gradients, and the parameters under the names that evenkeel's stack has for them, dots written as
two underscores. Ends with 77 if the package is not installed.

torchscale imports fairscale and timm, for checkpoints and stochastic depth, which are off here. They
are replaced by empty modules.
"""

import sys
import types

import torch

from tensors import SKIPPED, fresh_folder, save

for name in ("fairscale", "fairscale.nn", "timm", "timm.models", "timm.models.layers"):
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["fairscale.nn"].checkpoint_wrapper = sys.modules["fairscale.nn"].wrap = None
sys.modules["timm.models.layers"].drop_path = None

try:
    from torchscale.architecture.config import EncoderDecoderConfig
    from torchscale.architecture.decoder import Decoder
    from torchscale.architecture.encoder import Encoder
except ModuleNotFoundError as error:
    print(f"skipped: {error}")
    sys.exit(SKIPPED)

DIM, HEADS, INNER, ENCODER_LAYERS, DECODER_LAYERS = 128, 4, 256, 3, 2

METHODS = {"DeepNorm": {"deepnorm": True}, "SubLN": {"subln": True}}


def stacks_of(kind, method):
    """The stacks by name, of an encoder-decoder, an encoder alone or a decoder alone."""
    config = EncoderDecoderConfig(
        encoder_layers=ENCODER_LAYERS, decoder_layers=DECODER_LAYERS, encoder_embed_dim=DIM, decoder_embed_dim=DIM,
        encoder_ffn_embed_dim=INNER, decoder_ffn_embed_dim=INNER, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, activation_fn="relu", vocab_size=-1, no_output_layer=True, **METHODS[method],
    )  # fmt: skip
    both = kind == "Both"
    stacks = {}
    if kind != "Decoder":
        stacks["encoder"] = Encoder(config, is_encoder_decoder=both)
    if kind != "Encoder":
        stacks["decoder"] = Decoder(config, is_encoder_decoder=both)
    return {name: stack.double() for name, stack in stacks.items()}


BRANCHES = {"self_attn": "self_attn", "encoder_attn": "cross_attn", "ffn": "feed_forward"}
NORMS = {
    "self_attn_layer_norm": "self_attn_residual.norm",
    "encoder_attn_layer_norm": "cross_attn_residual.norm",
    "final_layer_norm": "feed_forward_residual.norm",
}
INSIDE = {"inner_attn_ln": "inside_norm", "ffn_layernorm": "inside_norm"}


def our_name(theirs):
    """E.g. layers.0.ffn.fc1.weight is our layer_0.feed_forward.fc1.weight."""
    parts = theirs.split(".")
    if parts[0] == "layer_norm":
        return "norm." + parts[1]
    layer, part, *rest = [f"layer_{parts[1]}"] + parts[2:]
    if part in NORMS:
        return ".".join([layer, NORMS[part], *rest])
    return ".".join([layer, BRANCHES[part], *(INSIDE.get(name, name) for name in rest)])


def initial(prefix, stack):
    """alpha, and what the weights begin with."""
    found = {f"{prefix}alpha": stack.layers[0].alpha}
    for name, parameter in stack.named_parameters():
        if parameter.dim() == 2:
            ours = prefix + our_name(name).removesuffix(".weight")
            found[f"{ours}.std"] = parameter.std()
            found[f"{ours}.max"] = parameter.abs().max()
    return {name: torch.as_tensor(value, dtype=torch.double) for name, value in found.items()}


def trained(prefix, stack):
    """Parameters and their gradients, by our names; query, key and value are one matrix in ours."""
    parameters = {our_name(name): parameter for name, parameter in stack.named_parameters()}
    found = {}
    for name, parameter in parameters.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        ours, parts = name, [parameter]
        if ".q_proj." in name:
            ours = name.replace("q_proj.", "in_proj_")
            parts = [parameters[name.replace("q_proj", which)] for which in ("q_proj", "k_proj", "v_proj")]
        found[prefix + ours] = torch.cat(parts)
        found["grad__" + prefix + ours] = torch.cat([part.grad for part in parts])
    return found


def main():
    folder = fresh_folder(f"{sys.argv[1]}/torchscale")
    cases = [(kind, method) for method in METHODS for kind in ("Both", "Encoder", "Decoder")]
    for kind, method in cases:
        torch.manual_seed(0)
        stacks = stacks_of(kind, method)
        tensors = {}
        for name, stack in stacks.items():
            tensors.update(initial(f"{name}.", stack))
            with torch.no_grad():
                for parameter in stack.parameters():  # as training would have left it
                    parameter.add_(0.05 * torch.randn_like(parameter))

        src, tgt, grad_y = torch.randn(3, 2, 5, DIM, dtype=torch.double).unbind()
        memory = None
        if "encoder" in stacks:
            memory = stacks["encoder"](None, token_embeddings=src, features_only=True)
            y = memory["encoder_out"]
        if "decoder" in stacks:
            tokens = torch.zeros(2, 5, dtype=torch.long)  # only their number is read
            y, _ = stacks["decoder"](tokens, encoder_out=memory, token_embeddings=tgt, features_only=True)
        y.backward(grad_y)
        tensors.update(src=src, tgt=tgt, y=y, grad_y=grad_y)
        for name, stack in stacks.items():
            tensors.update(trained(f"{name}.", stack))
        save(folder / f"{method}{kind}.pt", tensors)
    print(f"{len(cases)} cases, PyTorch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
