"""The rival without training of notebook 10: rounding by GPTQ, on the networks and the grids of `experiment_10_widths`.

`python -m utils experiments 10_gptq` writes `data/experiments/10_gptq.jsonl`: the error on validation in per cent for
five networks on digits and three on clothes. Bits, scales and calibration images are those of the rows "rounded" there.
Four variants were tried on these networks before the table was made: 500 images or 2,000, rounding for the layer's own
outputs or for those of the network in float. In the mean over the five digits' networks their errors at 2 bits lay
between 3.1 and 4.3 %, at 3 bits between 1.6 and 1.7 %. The table has the first, the plain one; the test split is not
read.
"""

from collections.abc import Iterator

from utils import gptq_layers, qat, surgeon
from utils.experiment_files import complete, digest_of
from utils.gptq import gptq
from utils.gptq_layers import gptq_prepared
from utils.models import LiteNetCNN
from utils.recipes import experiment_10_widths as widths
from utils.recipes.quantization_starts import FOLDER, RECIPES, SEEDS, load_start
from utils.training import evaluate

NAME = "10_gptq"

MINUTES = 1

WIDTHS = ("4 bits", "3 bits", "2 bits")
"""Of `widths.SCHEMES`; at 8 bits there is nothing to win."""


def error_of(data_set: str, seed: int, scheme: str) -> float:
    """Return the error on validation, in per cent, of one network rounded by GPTQ."""
    splits = widths._splits(data_set)
    prepared = widths.rounded(load_start(data_set, seed), data_set, scheme)
    repaired = gptq_prepared(prepared, splits.train.images[: widths.CALIBRATION_IMAGES])
    return 100 * (1 - evaluate(repaired, splits.validation).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order."""
    for data_set, seeds in SEEDS.items():
        for seed in seeds:
            for scheme in WIDTHS:
                yield {"data_set": data_set, "seed": seed, "scheme": scheme}


def digest() -> str:
    """Return a digest of what the rows depend on: rounding, repair, and the networks."""
    code = [error_of, widths.rounded, LiteNetCNN, gptq_layers, gptq, surgeon.second_moment, qat.prepare, qat.calibrate]
    code += [qat.Quantizer, qat.LearnedScale, qat.smallest_error_scale, qat.fake_quantize, qat.rounded_parameters]
    code += [qat.FakeQuantizedLinear, qat.FakeQuantizedConv2d]
    return digest_of(code, [FOLDER / f"{name}.safetensors" for name in RECIPES])


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: error_of(**wanted))
