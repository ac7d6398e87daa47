# SPDX-License-Identifier: MIT
"""What lucidrains/x-transformers' own package computes, for tests/unit/nn/x_transformers_test.cpp.

    python x_transformers_reference.py OUTPUT_FOLDER

fills OUTPUT_FOLDER/x_transformers/ with, for every case, NAME.pt: input, output, gradients, and the
parameters under the names that evenkeel's stack has for them, dots written as two underscores.
Ends with 77 if the package is not installed.

Left out, as x-transformers 2.31.10 has no option that is the same function: ReZero and SkipInit (its
stacks have a norm somewhere), Sub-LN and HybridNorm (norms inside attention are of other kinds),
ResiDual, B2T, Mix-LN and SiameseNorm. Its NormFormer options are compared one by one, in HeadScale.
"""

import sys

import torch

from tensors import fresh_folder, imported, save

x_transformers = imported("x_transformers")

DIM, HEADS, LAYERS = 16, 2, 3

# The same list stands in x_transformers_test.cpp.
CASES = {
    "PostLN": {"pre_norm": False},
    "PreLN": {},
    "PreLNCausal": {"causal": True},
    "Admin": {"pre_norm": False, "scale_residual": True},
    "DeepNorm": {"pre_norm": False, "scale_residual_constant": (2 * LAYERS) ** 0.25},
    "PeriLN": {"sandwich_norm": True},
    "LayerScale": {"use_layerscale": True, "layerscale_init_value": 0.1},
    "Keel": {"pre_and_post_norm": True, "scale_residual_constant": 2.0 * LAYERS},
    "HeadScale": {"attn_head_scale": True, "ff_post_act_ln": True},
    "PreRMSNorm": {"use_rmsnorm": True},
    "PostRMSNorm": {"use_rmsnorm": True, "pre_norm": False},
    "PreScaleNorm": {"use_scalenorm": True},
    "PreDyT": {"use_dynamic_tanh": True},
    "PeriRMSNorm": {"sandwich_norm": True, "use_rmsnorm": True},
    "KeelRMSNorm": {"pre_and_post_norm": True, "scale_residual_constant": 2.0 * LAYERS, "use_rmsnorm": True},
}


def of_norm(norm, name):
    """The norm's parameters as (our name, its tensor, what ours is a multiple of)."""
    kind = type(norm).__name__
    if kind == "LayerNorm":
        return [(f"{name}.weight", norm.gamma, 1.0)]
    if kind == "RMSNorm":
        return [(f"{name}.weight", norm.g, 1.0)]
    if kind == "ScaleNorm":  # ours is the length itself
        return [(f"{name}.g", norm.g, DIM**0.5)]
    if kind == "DynamicTanh":
        return [
            (f"{name}.alpha", norm.pre_tanh_scale, 1.0),
            (f"{name}.weight", norm.gamma, 1.0),
            (f"{name}.bias", norm.beta, 1.0),
        ]
    raise ValueError(kind)


def of_stack(stack):
    found = []
    for index, (norms, branch, residual) in enumerate(stack.layers):
        layer, kind = f"layer_{index // 2}.", ("self_attn", "feed_forward")[index % 2]
        if hasattr(branch, "fn"):  # LayerScale
            found.append((f"{layer}{kind}_residual.branch_gain", branch.gamma, 1.0))
            branch = branch.fn
        if kind == "self_attn":
            found.append((f"{layer}self_attn.out_proj.weight", branch.to_out.weight, 1.0))
            if getattr(branch, "head_scale_params", None) is not None:
                found.append((f"{layer}self_attn.head_gain", branch.head_scale_params, 1.0))
        else:
            linears = [module for module in branch.modules() if isinstance(module, torch.nn.Linear)]
            for name, linear in zip(("fc1", "fc2"), linears, strict=True):
                found.append((f"{layer}feed_forward.{name}.weight", linear.weight, 1.0))
                found.append((f"{layer}feed_forward.{name}.bias", linear.bias, 1.0))
            for module in branch.modules():
                if isinstance(module, x_transformers.x_transformers.LayerNorm):
                    found += of_norm(module, f"{layer}feed_forward.inside_norm")
        before, behind, of_sum = norms
        name = f"{layer}{kind}_residual."
        if before is not None:
            found += of_norm(before, name + ("norm" if of_sum is None else "input_norm"))
        if behind is not None:
            found += of_norm(behind, name + "branch_norm")
        if of_sum is not None:
            found += of_norm(of_sum, name + "norm")
        if residual.residual_scale is not None:
            found.append((name + "omega", residual.residual_scale, 1.0))
    if type(stack.final_norm).__name__ != "Identity":
        found += of_norm(stack.final_norm, "norm")
    return found


def main():
    folder = fresh_folder(f"{sys.argv[1]}/x_transformers")
    for name, options in CASES.items():
        torch.manual_seed(0)
        options = {"causal": False, **options}
        kind = x_transformers.Decoder if options.pop("causal") else x_transformers.Encoder
        stack = kind(
            dim=DIM, depth=LAYERS, heads=HEADS, attn_dim_head=DIM // HEADS, ff_mult=2, norm_add_unit_offset=False, **options
        ).double()  # fmt: skip
        with torch.no_grad():
            for parameter in stack.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))  # as training would have left it
        x = torch.randn(2, 5, DIM, dtype=torch.double).requires_grad_()
        grad_y = torch.randn(2, 5, DIM, dtype=torch.double)
        y = stack(x)
        y.backward(grad_y)

        tensors = {"x": x, "y": y, "grad_y": grad_y, "grad_x": x.grad}
        known = set()
        for ours, theirs, factor in of_stack(stack):
            known.add(id(theirs))
            tensors[ours] = factor * theirs.reshape(-1) if theirs.dim() in (0, 4) else factor * theirs
            tensors["grad__" + ours] = theirs.grad.reshape(tensors[ours].shape) / factor
        for index in range(0, 2 * LAYERS, 2):  # attention: three matrices that are one in ours
            attention = stack.layers[index][1]
            attention = getattr(attention, "fn", attention)
            packed = [attention.to_q.weight, attention.to_k.weight, attention.to_v.weight]
            known.update(map(id, packed))
            ours = f"layer_{index // 2}.self_attn.in_proj_weight"
            tensors[ours] = torch.cat(packed)
            tensors["grad__" + ours] = torch.cat([weight.grad for weight in packed])
        left = [name for name, parameter in stack.named_parameters() if id(parameter) not in known]
        assert not left, left
        save(folder / f"{name}.pt", tensors)
    print(f"{len(CASES)} cases, PyTorch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
