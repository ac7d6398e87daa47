# SPDX-License-Identifier: MIT
"""Compares the models that tests/unit/fold/export_ctranslate2_test.cpp exported with what that test computed.

    python ctranslate2_scores.py REFERENCE_FOLDER

fails unless CTranslate2 gives every token of REFERENCE_FOLDER/ctranslate2_scores/*.tsv the same log-probability, up to 1e-4
(models of half precision, whose folded weights and positions are rounded: 5e-2), and is of the version of the format that
evenkeel writes. Ends with 77 where ctranslate2 is not installed.
"""

import pathlib
import sys

try:
    import ctranslate2
    from ctranslate2.specs import model_spec, transformer_spec
except ImportError:
    sys.exit(77)

TOLERANCE, TOLERANCE_OF_HALF = 1e-4, 5e-2


def main():
    assert model_spec.CURRENT_BINARY_VERSION == 6, model_spec.CURRENT_BINARY_VERSION
    assert transformer_spec.TransformerSpec.from_config(1, 1).revision == 7
    files = sorted((pathlib.Path(sys.argv[1]) / "ctranslate2_scores").glob("*.tsv"))
    assert len(files) == 16, files
    for file in files:
        translator = ctranslate2.Translator(str(file.with_suffix("")), intra_threads=1)
        rows = [line.split("\t") for line in file.read_text().splitlines()]
        results = translator.score_batch([row[0].split() for row in rows], [row[1].split() for row in rows])
        largest = 0.0
        for row, result in zip(rows, results, strict=True):
            expected = [float(score) for score in row[2].split()]
            assert result.tokens == row[1].split() + ["</s>"], result.tokens
            for ours, theirs in zip(expected, result.log_probs, strict=True):
                largest = max(largest, abs(ours - theirs))
        print(f"{file.stem}: largest difference {largest:.1e}")
        is_half = file.stem.endswith(("_half", "_bfloat16"))
        assert largest <= (TOLERANCE_OF_HALF if is_half else TOLERANCE), file.stem


if __name__ == "__main__":
    main()
