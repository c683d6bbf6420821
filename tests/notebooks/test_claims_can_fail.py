"""A claim that cannot fail says nothing: each notebook is broken on purpose, and the claim about it must notice."""

import ast
import contextlib
import io
import subprocess
import sys

import pytest

from tests.notebooks.reading import code
from utils.claims import ClaimError
from utils.files import ROOT

# (notebook, what stands there, what breaks it, the claim that must fail); those before the first training are quick
BROKEN = [
    ("00_start_here", 'load_checkpoint("LiteNetMLP")', 'build("LiteNetMLP").eval()', "the network reads at least 98 %"),
    ("00_start_here", "784 * 256 + 256 + 256 * 10 + 10", "784 * 256 + 256 * 10", "the counter finds the same"),
    ("00_start_here", "saved_bytes(dense)\n", "saved_bytes(dense) // 2\n", "the file is those 814,120 bytes"),
    ("00_start_here", "argsort(stable=True)", "argsort(descending=True)", "setting half of the weights to zero"),
    (
        "00_start_here",
        "saved_bytes(pruned) ==",
        "saved_bytes(pruned.half()) ==",
        "the pruned network's file is exactly",
    ),
    ("00_start_here", ".round().to(torch.int8)", ".floor().to(torch.int8)", "no weight moves by more than half a step"),
    ("00_start_here", ".round().to(torch.int8)", ".round()", "the file with both is at least 6 times smaller"),
    ("00_start_here", "(dense, prune_smallest, 0.5)", "(dense, prune_smallest, 0.45)", "of the rebuilt network"),
    ("00_start_here", "torch.randperm(weight.numel())", "weight.abs().flatten().argsort()", "with 70 % of the weights"),
    ("00_start_here", "ALLOWED_DROP = 0.005", "ALLOWED_DROP = 0.5", "on the test split the small network"),
    (
        "00_start_here",
        '"small": small}, one_digit',
        '"small": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))}, one_digit',
        "the small network is not faster",
    ),
    ("01_measuring_a_network", "* in_features + out_features,", "* in_features,", "the sums for LiteNetMLP"),
    ("01_measuring_a_network", "weights * side**2", "weights * side", "the sums for LiteNetCNN"),
    ("01_measuring_a_network", 'mlp = networks["LiteNetMLP"]', "mlp = LiteNetMLP().half()", "in memory: four bytes"),
    ("01_measuring_a_network", "(to_safetensors(mlp))", "(2 * to_safetensors(mlp))", "on the disk: the same"),
    ("01_measuring_a_network", "Adam(mlp.parameters())", "SGD(mlp.parameters(), lr=1)", "training with Adam holds"),
    ("02_unstructured_pruning", "abs().flatten().argsort(stable", "flatten().argsort(stable", "vectorised: the same"),
    ("02_unstructured_pruning", 'prune.remove(layer, "weight")', "pass", "after prune.remove it is exactly"),
    ("03_structured_pruning", "[:, unit]", "[:, unit - 1]", "hand, loop and index agree"),
    ("04_random_and_norm_pruning", "sorted((scores[i, j]", "sorted((-scores[i, j]", "the loop finds our three masks"),
    ("05_iterative_pruning", "amount=0.2)", "amount=0.25)", "three times 20 %"),
    ("06_svd_compression", "rounds=30", "rounds=1", "loop, eigenvectors, PyTorch"),
    ("07_pca_compression", "[row[i] - mean[i] for", "[row[i] for", "the loop finds the direction (1, 1)"),
    ("07_pca_compression", "fifty.project(some, whitened=whitened)", "fifty.project(some)", "whitened, a single step"),
    ("08_quantization_from_scratch", "round(value / scale) + zero", "int(value / scale) + zero", "hand, loop, tensor"),
    (
        "08_quantization_from_scratch",
        "- input_grid.zero_point * qw",
        "+ input_grid.zero_point * qw",
        "loop and int32 product",
    ),
    ("09_post_training_quantization", "max(-32768, min(pair, 32767))", "pair", "hand, loop and tensors agree"),
    (
        "09_post_training_quantization",
        "torch.randint(-64, 64,",
        "torch.randint(-128, 128,",
        "with 7 bits our saturating",
    ),
    ("09_post_training_quantization", "norm.bias - factor", "norm.bias + factor", "loop, tensors and PyTorch fold"),
    (
        "10_quantization_aware_training",
        "        return gradient\n",
        "        return torch.zeros_like(gradient)\n",
        "by hand, ours, utils.qat and PyTorch's operator",
    ),
    ("10_quantization_aware_training", "round(v) - v if -2", "round(v) if -2", "by hand, loop and autograd agree"),
    (
        "10_quantization_aware_training",
        "bias = Round.apply(self.layer.bias / step) * step",
        "bias = self.layer.bias",
        "our layers and utils.qat give the same logits",
    ),
    ("11_gpu_data_parallelism", "len(labels) if weighted", "len(labels) * 1.01 if weighted", "weighted by their sizes"),
    ("11_gpu_data_parallelism", "[2 * 3 / 4] * 4", "[2 * 4 / 4] * 4", "all three send six vectors in all"),
    ("12_inference_efficiency", "looped += mixing[0, channel] *", "looped += 1 *", "hand, loop and PyTorch's grouped"),
    ("12_inference_efficiency", "max(arrival, free_at) + seconds", "arrival + seconds", "hand, loop, running maximum"),
    ("13_keras_mobilenet_inference", "include_optimizer=include", "include_optimizer=True", ".h5 honours it"),
    ("14_keras_data_parallelism", "[256, 256])", "[128, 256])", "the sum over the global batch gives the gradient"),
    (
        "14_keras_data_parallelism",
        "BatchNormalization(synchronized=True)",
        "BatchNormalization()",
        "with synchronized=True it does not",
    ),
    ("15_deep_compression", "sums[code - 1] += g", "sums[code - 1] = g", "hand, loop, index_add and autograd find"),
    ("15_deep_compression", "key=lambda tree: tree[0])", "key=lambda tree: -tree[0])", "hand, loop and huffman"),
    ("15_deep_compression", "zeros < 2**bits - 1", "zeros < 2**bits - 2", "hand, loop and relative_indices agree"),
    ("16_scoreboard", "and one != other", "", "the loop finds the frontier"),
    ("16_scoreboard", ".drop_duplicates()", ".iloc[:1]", "loop, tensor, pandas and utils.scoreboard agree"),
    ("16_scoreboard", "interval(right / n, n)", "interval(right / n, n + 5)", "our interval is SciPy's"),
    ("16_scoreboard", "boards.max(axis=1).mean()", "boards.mean(axis=1).mean()", "the winner looks over 0.15"),
]
MISSED = "✗ not on this machine"
ABOUT_TIME = {"the small network is not faster"}
"""Where no such claim is broken clocks need not be exact: what a notebook times on the way is timed in a hurry."""


def break_and_run(name, old, new):
    """Run a notebook's cells in this process, with `old` replaced by `new`; return the claims that did not hold."""
    sources = [cell.source for cell in code(ROOT / "notebooks" / f"{name}.ipynb")]
    assert any(old in source for source in sources), f"{old!r} no longer stands in {name}"
    namespace, printed = {}, io.StringIO()
    for source in sources:
        changed = source.replace(old, new)
        ast.parse(changed)
        try:
            with contextlib.redirect_stdout(printed):
                exec(changed, namespace)
        except ClaimError as error:
            return str(error)
    missed = [line for line in printed.getvalue().splitlines() if MISSED in line]
    return "\n".join(missed) or "every claim held"


def break_and_run_apart(name, old, new):
    """Do the same in a process of its own: TensorFlow fixes its devices once, and stays apart from PyTorch."""
    script = f"from tests.test_claims_can_fail import break_and_run\nprint(break_and_run({name!r}, {old!r}, {new!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "new", "claim"), BROKEN, ids=[f"{b[0][:2]}: {b[3]}" for b in BROKEN])
def test_breaking_the_technique_breaks_the_claim(name, old, new, claim, monkeypatch):
    monkeypatch.setattr("utils.figures.display", lambda *_, **__: None)
    monkeypatch.setenv("WORKBOOK_SIDE_BY_SIDE", "0" if claim in ABOUT_TIME else "1")
    run = break_and_run_apart if "keras" in name else break_and_run
    said = f"{MISSED}: {claim}" if claim in ABOUT_TIME else f"does not hold: {claim}"
    assert said in run(name, old, new)
