"""Names that an option may have. The command line offers them and other modules check them; no engine is imported."""

from keras_genzoo import models

FORMATS = ("saved_model", "litert", "onnx")  # formats of `exporting.export`
# Schemes of the numbers in a LiteRT file, see `exporting.export`.
SCHEMES = ("dynamic_int8", "weight_only_int8", "w8a8", "w8a16", "dynamic_int4", "weight_only_int4")
QUANTIZATIONS = (None, "float16", "int8", "int4", *SCHEMES)  # precisions of a LiteRT file; None is float32
DTYPES = ("float32", "mixed_float16", "mixed_bfloat16")  # precision policies of training
AS_THE_PRESET = "as the presets have it"  # epochs of a study that trains presets
FIRST = "showcase"  # kind of the picture on a preset's card


def kinds() -> list[str]:
    """Every kind of picture that some family draws, the first the one on a card."""
    by_family = dict.fromkeys(kind for _, record in models.records() for kind in record.drawings)
    return sorted(by_family, key=lambda kind: kind != FIRST)
