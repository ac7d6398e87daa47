# SPDX-License-Identifier: MIT
"""The residual of admin-torch, eager and by torch.compile, on a GPU: y = LayerNorm(omega * x + dropout(f)), and the
plain LayerNorm(x + f) and RMSNorm(x + f).

Prints for each form and shape the microseconds forward, backward and both, measured as fused_residual.cpp does:
CUDA graphs over several sets of inputs, the median of the replays. Needs torch with CUDA.
"""

import statistics

import torch
import torch.nn.functional as F

SHAPES = [(4096, 512), (16384, 512), (8192, 1024), (32768, 1024), (4096, 4096)]
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
# name, type of x and parameters, type of f, omegas (None: no omega), dropout, norm
FORMS = [
    ("bfloat16, LayerNorm(x + f)", BF16, BF16, None, 0.0, "LayerNorm"),
    ("bfloat16, RMSNorm(x + f)", BF16, BF16, None, 0.0, "RMSNorm"),
    ("bfloat16", BF16, BF16, "vector", 0.0, "LayerNorm"),
    ("bfloat16, dropout", BF16, BF16, "vector", 0.1, "LayerNorm"),
    ("bfloat16, scalar omega", BF16, BF16, "scalar", 0.0, "LayerNorm"),
    ("float32 x, bfloat16 f", F32, BF16, "vector", 0.0, "LayerNorm"),
    ("float32", F32, F32, "vector", 0.0, "LayerNorm"),
    ("float32, dropout", F32, F32, "vector", 0.1, "LayerNorm"),
]


def residual(x, f, omega, weight, bias, dropout):
    """admin-torch's as_module, and the norm of the block around it. Without a bias it is an RMSNorm."""
    if dropout > 0.0:
        f = F.dropout(f, dropout, True)
    joined = (x + f if omega is None else x * omega + f).to(x.dtype)
    if bias is None:
        return F.rms_norm(joined, (x.shape[-1],), weight, 1e-5)
    return F.layer_norm(joined, (x.shape[-1],), weight, bias)


def graph_time(work, sets, replays=15):
    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        keep = work()
    times = []
    for i in range(replays + 3):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            times.append(1e3 * begin.elapsed_time(end))
    del keep
    return statistics.median(times) / sets


def measure(function, form, rows, dim):
    _, x_type, f_type, omegas, dropout, norm = form
    size = {F32: 4, BF16: 2, F16: 2}
    sets = max(2, min(16, int(400e6 / (rows * dim * (3 * size[x_type] + 2 * size[f_type]))) + 1))
    data = lambda kind: torch.randn(rows, dim, device="cuda").to(kind)
    parameter = lambda n, mean: (0.1 * torch.randn(n, device="cuda") + mean).to(x_type)
    vector = omegas == "vector"
    omega = None if omegas is None else parameter(dim if vector else 1, 2.2).requires_grad_(vector)
    weight = parameter(dim, 1.0).requires_grad_()
    bias = parameter(dim, 0.0).requires_grad_() if norm == "LayerNorm" else None
    xs = [data(x_type).requires_grad_() for _ in range(sets)]
    fs = [data(f_type).requires_grad_() for _ in range(sets)]
    dys = [data(x_type) for _ in range(sets)]
    forward = lambda i: function(xs[i], fs[i], omega, weight, bias, dropout)
    parameters = [weight] + ([] if bias is None else [bias]) + ([omega] if vector else [])
    inputs = lambda i: [xs[i], fs[i]] + parameters
    backward = lambda i, y: torch.autograd.grad(y, inputs(i), dys[i], retain_graph=True)
    for i in range(2):
        backward(i, forward(i))  # compiles
    torch.cuda.synchronize()
    times = [graph_time(lambda: [forward(i) for i in range(sets)], sets)]
    ys = [forward(i) for i in range(sets)]
    torch.cuda.synchronize()
    times.append(graph_time(lambda: [backward(i, ys[i]) for i in range(sets)], sets))
    del ys
    times.append(graph_time(lambda: [backward(i, forward(i)) for i in range(sets)], sets))
    return times


def main():
    import torch._functorch.config

    torch._functorch.config.donated_buffer = False  # a graph's backward runs more than once
    torch._dynamo.config.cache_size_limit = 512
    # A backward runs on the stream of its forward, and a capture may not meet the default stream.
    torch.cuda.set_stream(torch.cuda.Stream())
    print("torch", torch.__version__, torch.cuda.get_device_name())
    for form in FORMS:
        print(f"\n{form[0]}: us\nrows x dim | eager fwd | bwd | both | compile fwd | bwd | both")
        for rows, dim in SHAPES:
            torch._dynamo.reset()
            eager = measure(residual, form, rows, dim)
            compiled = measure(torch.compile(residual, dynamic=False), form, rows, dim)
            print(f"{rows}x{dim} | " + " | ".join(f"{t:.1f}" for t in eager + compiled), flush=True)


if __name__ == "__main__":
    main()
