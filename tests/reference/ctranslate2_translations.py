# SPDX-License-Identifier: MIT
"""Compares CTranslate2's translations with those that tests/unit/translation/export_test.cpp wrote beside its models.

    python ctranslate2_translations.py REFERENCE_FOLDER

fails unless both are the same, and so are their scores, for every line of REFERENCE_FOLDER/ctranslate2_translations/*.tsv: source,
then translation and score of greedy search, of beam 4, and of beam 4 with a coverage penalty. The folder's own SentencePiece models make pieces of the text. Ends with 77 where ctranslate2 or sentencepiece is not installed.
"""

import math
import pathlib
import sys

try:
    import ctranslate2
    import sentencepiece
except ImportError:
    sys.exit(77)


COVERAGE = 0.2  # as in export_test.cpp


def translations(folder, lines, beam, coverage):
    """What evenkeel-translate gives for non-empty lines with its default options, with scores."""
    translator = ctranslate2.Translator(str(folder), intra_threads=1)
    source, target = (
        sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm")) for side in ("source", "target")
    )
    for pieces in source.encode(lines, out_type=str):
        (result,) = translator.translate_batch(
            [pieces],
            beam_size=beam,
            length_penalty=1,
            coverage_penalty=coverage,
            return_scores=True,
            return_end_token=True,  # evenkeel counts it in score / length^a
            disable_unk=True,
            suppress_sequences=[["<pad>"], ["<s>"]],
            min_decoding_length=0,
            max_decoding_length=int(1.5 * len(pieces)) + 10,
        )
        yield target.decode([piece for piece in result.hypotheses[0] if piece != "</s>"]), result.scores[0]


def main():
    files = sorted((pathlib.Path(sys.argv[1]) / "ctranslate2_translations").glob("*.tsv"))
    assert {"toy", "separate"} <= {file.stem for file in files}, files
    for file in files:
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
        assert rows, file
        for column, beam, coverage in ((1, 1, 0.0), (3, 4, 0.0), (5, 4, COVERAGE)):
            theirs = list(translations(file.with_suffix(""), [row[0] for row in rows], beam, coverage))
            different = [
                f"{row[0]}\n  ours:   {row[column : column + 2]}\n  theirs: {line}, {score}"
                for row, (line, score) in zip(rows, theirs, strict=True)
                if row[column] != line or not math.isclose(float(row[column + 1]), score, rel_tol=1e-3, abs_tol=1e-3)
            ]
            print(
                f"{file.stem}, beam {beam}, coverage penalty {coverage}: "
                f"{len(rows) - len(different)} of {len(rows)} translations and scores are the same"
            )
            assert not different, "\n".join(different)


if __name__ == "__main__":
    main()
