#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The training of `evenkeel-translate --scheme admin` as one writes it in Python, for benchmarks/train_step.py.

Prints one line of JSON: target tokens a second, padding, shapes. Modes: eager; compile, each layer with dynamic
shapes; graph, the whole step as one CUDA graph for each shape; compile-graph, the same with each layer compiled.
"""

import argparse
import gzip
import json
import math
import queue
import random
import threading
import time
from pathlib import Path

import sentencepiece
import sizes
import torch
from torch import nn
from torch.nn import functional as F

PAD, BOS, EOS = 0, 2, 3


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x, memory=None, mask=None, causal=False):
        width = x.size(-1)
        if memory is None:
            q, k, v = self.in_proj(x).chunk(3, -1)
        else:
            weight, bias = self.in_proj.weight, self.in_proj.bias
            q = F.linear(x, weight[:width], bias[:width])
            k, v = F.linear(memory, weight[width:], bias[width:]).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Residual(nn.Module):
    """LayerNorm(omega * x + dropout(f))"""

    def __init__(self, width, sublayers, dropout):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        omega = math.sqrt((sublayers + 1) / math.log(sublayers + 1) - 1)
        self.omega = nn.Parameter(torch.full((width,), omega))
        self.dropout = dropout

    def forward(self, x, f):
        return self.norm(self.omega * x + F.dropout(f, self.dropout, self.training))


class Layer(nn.Module):
    def __init__(self, args, cross):
        super().__init__()
        width, sublayers = args.width, args.layers * (3 if cross else 2)
        self.attention = Attention(width, args.heads)
        self.cross = Attention(width, args.heads) if cross else None
        self.inner, self.outer = nn.Linear(width, args.inner), nn.Linear(args.inner, width)
        self.residuals = nn.ModuleList(
            Residual(width, sublayers, args.dropout) for _ in range(3 if cross else 2))

    def forward(self, x, memory, mask):
        if self.cross is None:
            x = self.residuals[0](x, self.attention(x, mask=mask))
        else:
            x = self.residuals[0](x, self.attention(x, causal=True))
            x = self.residuals[1](x, self.cross(x, memory, mask))
        return self.residuals[-1](x, self.outer(F.relu(self.inner(x))))


class Translator(nn.Module):
    def __init__(self, args, pieces):
        super().__init__()
        self.dropout, width = args.dropout, args.width
        self.tokens = nn.Embedding(pieces, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        angles = torch.arange(512)[:, None] / 1e4 ** (torch.arange(0, width, 2) / width)
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
        self.encoder = nn.ModuleList(Layer(args, False) for _ in range(args.layers))
        self.decoder = nn.ModuleList(Layer(args, True) for _ in range(args.layers))

    def embed(self, ids):
        x = self.tokens(ids) * math.sqrt(self.tokens.embedding_dim) + self.positions[:ids.size(1)]
        return F.dropout(x, self.dropout, self.training)

    def forward(self, source, target):
        mask = (source != PAD)[:, None, None, :]
        memory, y = self.embed(source), self.embed(target)
        for layer in self.encoder:
            memory = layer(memory, None, mask)
        for layer in self.decoder:
            y = layer(y, memory, mask)
        return F.linear(y, self.tokens.weight)


def lines(file):
    opened = gzip.open(file, "rt", encoding="utf8") if file.suffix == ".gz" else open(file, encoding="utf8")
    with opened as text:
        return [line.rstrip("\n") for line in text]


def read_pairs(args, pieces):
    pairs = ([ids + [EOS] for ids in pieces.encode([source, target])]
             for source, target in zip(lines(args.source), lines(args.target)) if source and target)
    return [pair for pair in pairs if max(map(len, pair)) <= 100]


def batches(args, pairs, few_shapes):
    """Endless (source, target, rows' lengths) with their padding; rows of about one length share a batch."""
    order = random.Random(1)
    while True:
        indices = list(range(len(pairs)))
        order.shuffle(indices)
        indices.sort(key=lambda i: (max(map(len, pairs[i])), len(pairs[i][0])))
        groups, longest = [[]], 0
        for i in indices:
            length = max(map(len, pairs[i]))
            length = -(-length // 8) * 8 if few_shapes else length
            new = max(longest, length)
            full = groups[-1] and (new * (len(groups[-1]) + 1) > args.tokens or few_shapes and length != longest)
            if full:
                groups.append([])
                new = length
            groups[-1].append(pairs[i])
            longest = new
        order.shuffle(groups)
        yield from groups


def as_tensors(args, group, few_shapes):
    sides = [max(len(pair[side]) for pair in group) for side in (0, 1)]
    rows = len(group)
    if few_shapes:
        sides = [-(-max(sides) // 8) * 8] * 2
        rows = max(args.tokens // sides[0], 1)
    source = torch.full((rows, sides[0]), PAD)
    target_input, target = (torch.full((rows, sides[1]), PAD) for _ in range(2))
    for row, (of_source, of_target) in enumerate(group):
        source[row, :len(of_source)] = torch.tensor(of_source)
        target[row, :len(of_target)] = torch.tensor(of_target)
        target_input[row, 0] = BOS
        target_input[row, 1:len(of_target)] = torch.tensor(of_target[:-1])
    source[len(group):, 0] = EOS
    tensors = [source, target_input, target]
    if args.device == "cuda":
        tensors = [tensor.pin_memory() for tensor in tensors]
    real = sum(len(s) + len(t) for s, t in group)
    return tensors, sum(len(t) for _, t in group), real, rows * sum(sides)


class Trainer:
    def __init__(self, args, pieces):
        torch.manual_seed(1)
        self.args = args
        self.graphs = {}
        self.captures = "graph" in args.mode
        self.model = Translator(args, pieces.get_piece_size()).to(args.device).train()
        rate = torch.tensor(1e-4, device=args.device) if self.captures else 1e-4
        self.adam = torch.optim.Adam(self.model.parameters(), lr=rate, betas=(0.9, 0.98),
                                     fused=True, capturable=self.captures)
        if "compile" in args.mode:
            torch._dynamo.config.cache_size_limit = 256
            for layer in [*self.model.encoder, *self.model.decoder]:
                layer.compile(dynamic=not self.captures)

    def step(self, source, target_input, target, tokens):
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast(self.args.device, torch.bfloat16, enabled=bool(self.args.bfloat16),
                            cache_enabled=not self.captures):
            logits = self.model(source, target_input)
        loss = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=PAD,
                               label_smoothing=0.1, reduction="sum") / tokens
        loss.backward()
        self.adam.step()
        return loss.detach()

    def captured(self, tensors):
        static = [tensor.to(self.args.device) for tensor in tensors]
        tokens = torch.ones((), device=self.args.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.step(*static, tokens)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            loss = self.step(*static, tokens)
        return graph, static, tokens, loss

    def train_on(self, tensors, tokens):
        if not self.captures:
            return self.step(*(tensor.to(self.args.device, non_blocking=True) for tensor in tensors), tokens)
        shape = tuple(tensors[0].shape)
        if shape not in self.graphs:
            self.graphs[shape] = self.captured(tensors)
        graph, static, count, loss = self.graphs[shape]
        for to, tensor in zip(static, tensors):
            to.copy_(tensor, non_blocking=True)
        count.fill_(tokens)
        graph.replay()
        return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["eager", "compile", "graph", "compile-graph"])
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    sizes.add_options(parser)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.enable_flash_sdp(False)  # the faster choice for short sentences
    torch.backends.cuda.enable_cudnn_sdp(False)
    pieces = sentencepiece.SentencePieceProcessor(model_file=args.vocabulary)
    pairs = read_pairs(args, pieces)
    trainer = Trainer(args, pieces)
    ready = queue.Queue(32)

    def prepare():
        for group in batches(args, pairs, trainer.captures):
            ready.put(as_tensors(args, group, trainer.captures))

    threading.Thread(target=prepare, daemon=True).start()

    def synchronize():
        if args.device == "cuda":
            torch.cuda.synchronize()

    began, timed, steps, tokens, real, entries = time.time(), None, 0, 0, 0, 0
    while True:
        tensors, count, of_pairs, all_of_them = ready.get()
        loss = trainer.train_on(tensors, count)
        steps, tokens, real, entries = steps + 1, tokens + count, real + of_pairs, entries + all_of_them
        if timed is None and time.time() - began > args.warm_up and (not trainer.captures or steps > 150):
            synchronize()
            timed, steps, tokens, real, entries = time.time(), 0, 0, 0, 0
        if timed is not None and steps % 10 == 9:
            synchronize()
            if time.time() - timed > args.seconds:
                break
    seconds = time.time() - timed
    print(json.dumps({"tokens_per_second": tokens / seconds, "steps": steps, "seconds": seconds,
                      "padding": 1 - real / entries, "shapes": len(trainer.graphs), "loss": loss.item(),
                      "warm_up": timed - began}))


if __name__ == "__main__":
    main()
