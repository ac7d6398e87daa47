# SPDX-License-Identifier: MIT
"""Compares CTranslate2's translations with those that tests/unit/translation/export_test.cpp wrote beside its models.

    python ctranslate2_translations.py REFERENCE_FOLDER

fails unless both are the same for every line of REFERENCE_FOLDER/ctranslate2_translations/*.tsv: source, greedy, beam 4. The
folder's own SentencePiece models make pieces of the text. Ends with 77 where ctranslate2 or sentencepiece is not installed.
"""

import pathlib
import sys

try:
    import ctranslate2
    import sentencepiece
except ImportError:
    sys.exit(77)


def translations(folder, lines, beam):
    """What evenkeel-translate gives for non-empty lines with its default options."""
    translator = ctranslate2.Translator(str(folder), intra_threads=1)
    source, target = (
        sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm")) for side in ("source", "target")
    )
    for pieces in source.encode(lines, out_type=str):
        (result,) = translator.translate_batch(
            [pieces],
            beam_size=beam,
            length_penalty=1,
            return_end_token=True,  # evenkeel counts it in score / length^a
            disable_unk=True,
            suppress_sequences=[["<pad>"], ["<s>"]],
            min_decoding_length=0,
            max_decoding_length=int(1.5 * len(pieces)) + 10,
        )
        yield target.decode([piece for piece in result.hypotheses[0] if piece != "</s>"])


def main():
    files = sorted((pathlib.Path(sys.argv[1]) / "ctranslate2_translations").glob("*.tsv"))
    assert {"toy", "separate"} <= {file.stem for file in files}, files
    for file in files:
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
        assert rows, file
        for column, beam in ((1, 1), (2, 4)):
            theirs = list(translations(file.with_suffix(""), [row[0] for row in rows], beam))
            different = [
                f"{row[0]}\n  ours:   {row[column]}\n  theirs: {line}"
                for row, line in zip(rows, theirs, strict=True)
                if row[column] != line
            ]
            print(f"{file.stem}, beam {beam}: {len(rows) - len(different)} of {len(rows)} translations are the same")
            assert not different, "\n".join(different)


if __name__ == "__main__":
    main()
