#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Beam search of evenkeel-translate and of CTranslate2, on one model: the table of docs/serve.md.

    python3 benchmarks/beam_search.py PROGRAM --run-dir RUN --source test.de.gz --reference test.en.gz
    python3 benchmarks/beam_search.py PROGRAM --run-dir RUN --source test.de.gz --device cuda

exports the model of the run and translates the same lines with both, in batches of as many tokens, the programs taking
turns. Prints target tokens per second, the ratio, how many translations are the same, and BLEU. The time of evenkeel-translate
is that of its process less that of one for a single line, which starts the program and loads the model; CTranslate2's is that
of `translate_batch` after a warm-up. Both times are the median of the rounds. The limit of a translation's length is another
for both, so translations that do not end differ.

Needs the packages ctranslate2, sentencepiece and sacrebleu; with --device cuda, CTranslate2 needs the libraries of CUDA 12.
"""

import argparse
import gzip
import os
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import ctranslate2
import sacrebleu
import sentencepiece

BATCH_TOKENS = 8192  # of evenkeel-translate: sentences x beam x longest source


def lines_of(file):
    opened = gzip.open if file.endswith(".gz") else open
    with opened(file, "rt", encoding="utf-8") as text:
        return text.read().splitlines()


class Ours:
    def __init__(self, options, lines, folder, threads):
        self.name = "evenkeel-translate"
        (folder / "lines").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "line").write_text(lines[0] + "\n", encoding="utf-8")
        self.folder = folder
        self.command = [
            options.program, "translate", "--run-dir", options.run_dir, "--beam", options.beam,
            "--batch-tokens", BATCH_TOKENS, "--device", options.device, "--threads", threads,
        ]  # fmt: skip

    def seconds(self, file):
        begin = time.perf_counter()
        arguments = [*self.command, "--input", self.folder / file, "--output", self.folder / "translations"]
        subprocess.run([str(argument) for argument in arguments], check=True)
        return time.perf_counter() - begin

    def translate(self):
        start = self.seconds("line")
        seconds = self.seconds("lines") - start
        return seconds, lines_of(str(self.folder / "translations"))


class Theirs:
    def __init__(self, options, lines, folder, threads, compute_type):
        self.name = f"CTranslate2, {compute_type}"
        self.options = options
        self.source, self.target = (
            sentencepiece.SentencePieceProcessor(model_file=str(folder / "ct2" / f"{side}.spm")) for side in ("source", "target")
        )
        self.pieces = self.source.encode(lines, out_type=str)
        self.translator = ctranslate2.Translator(
            str(folder / "ct2"), options.device, compute_type=compute_type, intra_threads=threads, inter_threads=1
        )
        self.translate_pieces(self.pieces[:8])

    def translate_pieces(self, pieces):
        return self.translator.translate_batch(
            pieces,
            beam_size=self.options.beam,
            max_batch_size=BATCH_TOKENS // self.options.beam,
            batch_type="tokens",
            return_end_token=True,
            disable_unk=True,
            suppress_sequences=[["<pad>"], ["<s>"]],
            min_decoding_length=0,
        )

    def translate(self):
        begin = time.perf_counter()
        results = self.translate_pieces(self.pieces)
        seconds = time.perf_counter() - begin
        return seconds, [self.target.decode([piece for piece in r.hypotheses[0] if piece != "</s>"]) for r in results]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="evenkeel-translate")
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--source", required=True, help="lines to translate, plain or .gz")
    parser.add_argument("--reference", help="their translation, for BLEU")
    parser.add_argument("--sentences", type=int, help="the first ones; default: all")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--compute-types", nargs="+", default=["float32", "int8"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lines = lines_of(options.source)[: options.sentences]
    references = lines_of(options.reference)[: options.sentences] if options.reference else None
    print(f"{len(lines)} lines, beam {options.beam}, {options.device}, ctranslate2 {version('ctranslate2')}")
    print(f"before: {os.getloadavg()[0]:.1f} busy threads on {os.cpu_count()} cores\n")
    print("| threads | program | tokens/s | ratio | same translations | BLEU |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export = ["export", "--format", "ctranslate2", "--run-dir", options.run_dir, "--output", folder / "ct2"]
        subprocess.run([options.program, *map(str, export)], check=True)
        for threads in options.threads if options.device == "cpu" else [1]:
            theirs = [Theirs(options, lines, folder, threads, kind) for kind in options.compute_types]
            programs = [Ours(options, lines, folder, threads), *theirs]
            times = [[] for _ in programs]
            texts = [[] for _ in programs]
            for _ in range(options.rounds):
                for i, program in enumerate(programs):
                    seconds, texts[i] = program.translate()
                    times[i].append(seconds)
            for i, program in enumerate(programs):
                tokens = sum(len(pieces) + 1 for pieces in theirs[0].target.encode(texts[i]))
                seconds = statistics.median(times[i])
                same = f"{sum(a == b for a, b in zip(texts[0], texts[i]))} of {len(lines)}" if i else "-"
                bleu = f"{sacrebleu.corpus_bleu(texts[i], [references]).score:.2f}" if references else "-"
                ratio = statistics.median(times[0]) / seconds
                print(f"| {threads} | {program.name} | {tokens / seconds:,.0f} | {ratio:.2f} | {same} | {bleu} |")


if __name__ == "__main__":
    main()
