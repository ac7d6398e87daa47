# SPDX-License-Identifier: MIT
"""Hugging Face's transformers reads what export_marian and export_gpt2 have written, and the reverse.

    python transformers_reference.py FOLDER            writes FOLDER/transformers/: models with random weights as
                                                       save_pretrained has them, each with inputs and logits in
                                                       io.safetensors, and a SentencePiece model with its pieces
    python transformers_reference.py --verify FOLDER   reads the folders ours_NAME there, which
                                                       tests/unit/fold/python_test.cpp has written
"""

import os
import pathlib
import shutil
import sys

import torch

from tensors import imported

os.environ["HF_HUB_OFFLINE"] = "1"
sentencepiece = imported("sentencepiece")
transformers = imported("transformers")
safetensors_torch = imported("safetensors.torch")

SIZES = {
    "vocab_size": 40, "d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "pad_token_id": 0, "eos_token_id": 3,
    "forced_eos_token_id": None, "decoder_start_token_id": 0, "scale_embedding": True, "max_position_embeddings": 64,
}
MARIAN, PEGASUS = "MarianMTModel", "PegasusForConditionalGeneration"
CASES = {
    "marian": (MARIAN, {"activation_function": "relu"}),
    "opus": (MARIAN, {"activation_function": "swish", "scale_embedding": False}),
    "separate": (MARIAN, {"activation_function": "gelu", "share_encoder_decoder_embeddings": False, "decoder_vocab_size": 30,
                          "tie_word_embeddings": False, "decoder_start_token_id": 2}),
    "pegasus": (PEGASUS, {"activation_function": "relu"}),
}
TEXTS = ["the cat sat on the mat", "a dog ran in the park", "two birds sing on a tree", "the sun sets over the sea"]


def write(folder):
    for name, (architecture, settings) in CASES.items():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model("marian" if architecture == MARIAN else "pegasus", **{**SIZES, **settings})
        model = getattr(transformers, architecture)(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.2 * torch.randn_like(parameter))
            if name == "opus":
                model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
        model.save_pretrained(folder / name)
        src = torch.randint(4, 40, (2, 5))
        src[1, 3:] = 0
        tgt = torch.cat([torch.full((2, 1), config.decoder_start_token_id), torch.randint(4, 30, (2, 4))], 1)
        with torch.no_grad():
            logits = model(input_ids=src, attention_mask=src.ne(0).long(), decoder_input_ids=tgt).logits
        safetensors_torch.save_file({"src": src, "tgt": tgt, "logits": logits}, folder / name / "io.safetensors")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=40, n_positions=20, n_embd=16, n_layer=2, n_head=2, activation_function="gelu",
                                     bos_token_id=3, eos_token_id=3)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder / "gpt2")
    tokens = torch.randint(0, 40, (3, 20))
    with torch.no_grad():
        logits = model(input_ids=tokens).logits
    safetensors_torch.save_file({"tokens": tokens, "logits": logits}, folder / "gpt2" / "io.safetensors")
    text = folder / "text.txt"
    text.write_text("\n".join(TEXTS * 20) + "\n", encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=40, model_type="bpe", pad_id=0, unk_id=1, bos_id=2,
        eos_id=3, minloglevel=2)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    names = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    (folder / "pieces.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def compare(name, logits, expected):
    difference = (logits - expected).abs().max().item()
    print(f"{name}: logits up to {expected.abs().max().item():.3g}, largest difference {difference:.3g}")
    assert difference < 1e-4, (name, difference)


def verify_translation(folder, name):
    expected = safetensors_torch.load_file(folder / "io" / f"{name}.safetensors")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder / f"ours_{name}").eval()
    assert type(model).__name__ == (PEGASUS if "pre" in name else MARIAN), type(model)
    src, tgt = expected["src"], expected["tgt"]
    mask = src.ne(model.config.pad_token_id).long()
    with torch.no_grad():
        compare(name, model(input_ids=src, attention_mask=mask, decoder_input_ids=tgt).logits, expected["logits"])
        length = expected["greedy"].shape[1]
        greedy = model.generate(input_ids=src, attention_mask=mask, do_sample=False, max_length=length)
    greedy = torch.nn.functional.pad(greedy, (0, length - greedy.shape[1]), value=model.config.pad_token_id)
    same = (greedy == expected["greedy"]).all(1)
    print(f"{name}: {same.sum().item()} of {len(same)} greedy translations are the same")
    assert len(same) == 200 and same.all(), name


def verify_tokenizer(folder):
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder / "ours_post")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        assert ids == pieces.encode(text) + [3], (text, ids)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id) == (0, 1, 3)


def verify_language_model(folder, name):
    expected = safetensors_torch.load_file(folder / "io" / f"{name}.safetensors")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / f"ours_{name}").eval()
    assert type(model).__name__ == "GPT2LMHeadModel"
    with torch.no_grad():
        compare(name, model(input_ids=expected["tokens"]).logits, expected["logits"])


def main():
    if sys.argv[1] == "--verify":
        folder = pathlib.Path(sys.argv[2]) / "transformers"
        for name in ("post", "pre", "silu", "deepnorm", "admin", "untied"):
            verify_translation(folder, name)
        verify_tokenizer(folder)
        for name in ("gpt2", "gpt2_learned"):
            verify_language_model(folder, name)
        return
    folder = pathlib.Path(sys.argv[1]) / "transformers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder)


if __name__ == "__main__":
    main()
