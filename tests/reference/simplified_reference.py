# SPDX-License-Identifier: MIT
"""What the simplified blocks compute, by their papers' formulas, for tests/unit/nn/simplified_test.cpp.

    python simplified_reference.py OUTPUT_FOLDER

fills OUTPUT_FOLDER/simplified/ with, for every case, NAME.pt: inputs, output, gradients, and the
parameters under the names that evenkeel's stack has for them, dots written as two underscores.

The blocks are those of bobby-he/simplified_transformers, which is no package that could be imported:
here they are written from the formulas, with attention as a matrix, I and C included, and without the
norms' eps. What that code does not have follows the formulas too: padding, which C leaves out, and
cross-attention, which is the usual one in every block.
"""

import sys

import torch

from tensors import fresh_folder, save

DIM, HEADS, INNER, LAYERS, LENGTH, SLOPE = 16, 2, 32, 3, 6, 0.1

SHAPED = {"sas", "sas-p", "value-skipinit"}
PARALLEL = {"parallel", "sas-p"}

# The same cases stand in simplified_test.cpp: kind, block, norm.
CASES = [
    *(("Causal", block, "rms") for block in ("default", "parallel", "sas", "sas-p", "value-skipinit", "op")),
    *(("Causal", block, "none") for block in ("sas", "sas-p", "op")),
    *(("Encoder", block, "rms") for block in ("default", "parallel", "sas", "sas-p", "value-skipinit", "op")),
    *(("Both", block, "rms") for block in ("default", "sas", "value-skipinit", "op")),
]


class Weights:
    """Parameters by our names, drawn where a formula first uses them."""

    def __init__(self, prefix):
        self.prefix, self.tensors = prefix, {}

    def __call__(self, name, *shape, around=0.0):
        if name not in self.tensors:
            deviation = shape[1] ** -0.5 if len(shape) == 2 else 0.2
            drawn = around + deviation * torch.randn(*shape, dtype=torch.double)
            self.tensors[name] = drawn.requires_grad_()
        return self.tensors[name]

    def linear(self, x, name, rows):
        return x @ self(f"{name}.weight", rows, x.shape[-1]).T


def rms_norm(x, weight):
    return weight * x / x.square().mean(-1, keepdim=True).sqrt()


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdim=True)
    return weight * centred / centred.square().mean(-1, keepdim=True).sqrt() + bias


def norm(w, x, name, kind):
    if kind == "rms":
        return rms_norm(x, w(f"{name}.weight", DIM, around=1.0))
    if kind == "layer":
        return layer_norm(x, w(f"{name}.weight", DIM, around=1.0), w(f"{name}.bias", DIM))
    return x


def heads(x):
    return x.unflatten(-1, (HEADS, DIM // HEADS)).transpose(1, 2)


def softmax(q, k, allowed):
    scores = q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def plain_attention(w, x, memory, name, allowed, query_key_norm):
    packed = w(f"{name}.in_proj_weight", 3 * DIM, DIM)
    q, k, v = (heads(of @ matrix.T) for of, matrix in zip((x, memory, memory), packed.chunk(3), strict=True))
    if query_key_norm:
        q = rms_norm(q, w(f"{name}.q_norm.weight", DIM // HEADS, around=1.0))
        k = rms_norm(k, w(f"{name}.k_norm.weight", DIM // HEADS, around=1.0))
    y = softmax(q, k, allowed) @ v
    return w.linear(y.transpose(1, 2).flatten(2), f"{name}.out_proj", DIM)


def gain_of_heads(w, name):
    return w(name, HEADS, around=1.0).view(-1, 1, 1)


def shaped_attention(w, x, name, allowed, *, first, centred):
    """(alpha * I + beta * softmax - gamma * C) V, without matrices of value and output, but that of the first value."""
    q, k = (heads(w.linear(x, f"{name}.{which}_proj", DIM)) for which in "qk")
    v = x
    if first:  # W = skip * I + resid * dW
        matrix = w(f"{name}.v_proj.skip_gain", 1, around=1.0) * torch.eye(DIM, dtype=torch.double)
        matrix = matrix + w(f"{name}.v_proj.resid_gain", 1, around=1.0) * w(f"{name}.v_proj.weight", DIM, DIM)
        v = v @ matrix.T
    a = gain_of_heads(w, f"{name}.beta") * softmax(q, k, allowed)
    a = a + gain_of_heads(w, f"{name}.alpha") * torch.eye(x.shape[1], dtype=torch.double)
    if centred:
        uniform = allowed.double() / allowed.sum(-1, keepdim=True)
        a = a - gain_of_heads(w, f"{name}.gamma") * uniform
    return (a @ heads(v)).transpose(1, 2).flatten(2)


def feed_forward(w, x, name):
    h = w.linear(x, f"{name}.fc1", INNER)
    return w.linear(torch.where(h >= 0, h, SLOPE * h), f"{name}.fc2", DIM)


def stack(w, x, memory, block, norm_kind, allowed, memory_allowed):
    shaped = block in SHAPED
    op_gain = torch.tensor(0.2 * (12 / LAYERS) ** 0.5).item() if block == "op" else 1.0  # float32, as ours

    def attention(n, name, first):
        if shaped:
            return shaped_attention(w, n, name, allowed, first=first, centred=block != "value-skipinit")
        return plain_attention(w, n, n, name, allowed, block == "op")

    def gain(name, around=1.0):
        return w(name, 1, around=around)

    for index in range(LAYERS):
        layer, first = f"layer_{index}.", index == 0
        kind = "layer" if norm_kind == "none" and first else norm_kind
        if block in PARALLEL:
            n = norm(w, x, f"{layer}parallel_residual.norm", kind)
            a = attention(n, f"{layer}parallel.attention", first)
            f = feed_forward(w, n, f"{layer}parallel.feed_forward")
            if shaped:
                x = gain(f"{layer}parallel.attention_gain") * a + gain(f"{layer}parallel.feed_forward_gain", 0.1) * f
            else:
                x = x + a + f
            continue
        a = attention(norm(w, x, f"{layer}self_attn_residual.norm", kind), f"{layer}self_attn", first)
        if shaped:
            x = gain(f"{layer}self_attn_residual.branch_gain") * a
        else:
            x = x + op_gain * a
        if memory is not None:
            n = norm(w, x, f"{layer}cross_attn_residual.norm", norm_kind)
            x = x + plain_attention(w, n, memory, f"{layer}cross_attn", memory_allowed, block == "op")
        f = feed_forward(w, norm(w, x, f"{layer}feed_forward_residual.norm", norm_kind), f"{layer}feed_forward")
        if shaped:
            shortcut = gain(f"{layer}feed_forward_residual.omega")
            x = shortcut * x + gain(f"{layer}feed_forward_residual.branch_gain", 0.1) * f
        else:
            x = x + op_gain * f
    return norm(w, x, "norm", "layer" if norm_kind == "none" else norm_kind)


def main():
    folder = fresh_folder(f"{sys.argv[1]}/simplified")
    causal = torch.ones(LENGTH, LENGTH).tril().bool()
    padding = torch.zeros(2, LENGTH).bool()
    padding[1, -2:] = True
    unpadded = ~padding.view(2, 1, 1, LENGTH).expand(2, 1, LENGTH, LENGTH)
    for kind, block, norm_kind in CASES:
        torch.manual_seed(0)
        src, tgt = torch.randn(2, 2, LENGTH, DIM, dtype=torch.double).unbind()
        src.requires_grad_()
        tgt.requires_grad_()
        grad_y = torch.randn(2, LENGTH, DIM, dtype=torch.double)
        stacks, y = [], None
        if kind != "Causal":
            stacks.append(Weights("encoder."))
            y = stack(stacks[-1], src, None, block, norm_kind, unpadded, None)
        if kind != "Encoder":
            stacks.append(Weights("decoder."))
            y = stack(stacks[-1], tgt, y, block, norm_kind, causal, unpadded)
        y.backward(grad_y)
        tensors = {"src": src, "tgt": tgt, "padding": padding, "y": y, "grad_y": grad_y}
        tensors.update({f"grad_{name}": x.grad for name, x in (("src", src), ("tgt", tgt)) if x.grad is not None})
        for weights in stacks:
            tensors[f"{weights.prefix}parameters"] = torch.tensor(len(weights.tensors))
            for name, parameter in weights.tensors.items():
                tensors[weights.prefix + name] = parameter
                tensors[f"grad__{weights.prefix}{name}"] = parameter.grad
        save(folder / f"{kind}_{block.replace('-', '_')}_{norm_kind}.pt", tensors)
    print(f"{len(CASES)} cases, PyTorch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
