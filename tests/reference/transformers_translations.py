# SPDX-License-Identifier: MIT
"""Compares greedy translations of Hugging Face's transformers with those that tests/unit/translation/export_test.cpp wrote.

    python transformers_translations.py REFERENCE_FOLDER

fails unless both are the same for every line of REFERENCE_FOLDER/ctranslate2_translations/NAME.tsv whose model is in
REFERENCE_FOLDER/other_exports/NAME.huggingface; also reads the NAME.torch there. Ends with 77 where transformers is not installed.
"""

import json
import os
import pathlib
import sys

import torch

from tensors import imported

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = imported("transformers")
safetensors_torch = imported("safetensors.torch")
transformers.logging.set_verbosity_error()


def translations(folder, lines):
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for line in lines:
        batch = tokenizer([line], return_tensors="pt")
        length = int(1.5 * (batch.input_ids.shape[1] - 1)) + 10
        ids = model.generate(**batch, do_sample=False, max_new_tokens=length)
        yield tokenizer.batch_decode(ids, skip_special_tokens=True)[0]


def main():
    reference = pathlib.Path(sys.argv[1])
    folders = sorted((reference / "other_exports").iterdir())
    assert {"toy.huggingface", "toy.torch", "separate.torch"} <= {folder.name for folder in folders}, folders
    for folder in folders:
        if folder.suffix == ".torch":
            model = torch.nn.Transformer(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
            state = safetensors_torch.load_file(folder / "model.safetensors")
            missing, more = model.load_state_dict(state, strict=False)
            beside = {"src_embedding.weight", "tgt_embedding.weight", "head.weight", "encoder.input_scale", "decoder.input_scale"}
            assert not missing and set(more) <= beside and "head.weight" in more, (missing, more)
            continue
        tsv = reference / "ctranslate2_translations" / f"{folder.stem}.tsv"
        rows = [line.split("\t") for line in tsv.read_text(encoding="utf-8").splitlines()]
        assert rows, tsv
        theirs = list(translations(folder, [row[0] for row in rows]))
        different = [
            f"{row[0]}\n  ours:   {row[1]}\n  theirs: {line}" for row, line in zip(rows, theirs, strict=True) if row[1] != line
        ]
        print(f"{folder.stem}: {len(rows) - len(different)} of {len(rows)} greedy translations are the same")
        assert not different, "\n".join(different)


if __name__ == "__main__":
    main()
