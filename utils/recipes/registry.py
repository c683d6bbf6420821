"""Every checkpoint in `data/checkpoints/` by name: the module that trains it, its notebook, and what it starts from."""

from collections.abc import Iterable
from types import ModuleType

from utils.recipes import (
    compressed,
    dense,
    equal_bytes,
    experiment_02_controls,
    experiment_02_dense,
    experiment_02_fashion,
    experiment_03_fashion,
    experiment_03_latencies,
    experiment_03_starts,
    experiment_03_thousand,
    experiment_04_repairs,
    experiment_04_retraining,
    experiment_05_controls,
    experiment_05_dense,
    experiment_05_early_rise,
    experiment_05_fashion,
    experiment_05_more_seeds,
    experiment_05_schedules,
    experiment_06_chosen_neurons,
    experiment_06_trained_alike,
    experiment_07_ranks,
    experiment_07_starts,
    experiment_08_codebooks,
    experiment_08_last_layer,
    experiment_08_repair,
    experiment_09_calibration,
    experiment_10_gptq,
    experiment_10_widths,
    experiment_11_two_hosts,
    experiment_16_as_long,
    experiment_16_distillation,
    experiment_16_latencies,
    experiment_16_search,
    experiment_16_supernet,
    experiment_18_frontier,
    experiment_19_distilled,
    experiment_19_one_shot,
    experiment_19_repairs,
    experiment_19_seeds,
    experiment_19_shares,
    experiment_20_adapters,
    experiment_20_forms,
    experiment_20_starts,
    experiment_21_shared_keys,
    fashion,
    four_epochs,
    gradually_pruned,
    keras_mobilenet,
    ladder,
    low_rank,
    low_rank_controls,
    narrow,
    narrow_from_scratch,
    quantization_starts,
    quantized,
    small_transformer,
)

MODULES = (
    dense,
    equal_bytes,
    narrow,
    gradually_pruned,
    low_rank,
    low_rank_controls,
    quantization_starts,
    quantized,
    keras_mobilenet,
    compressed,
    narrow_from_scratch,
    fashion,
    four_epochs,
    ladder,
    small_transformer,
)
"""The modules of recipes; the dense networks come first, as the others start from them or learn from their answers.

Each holds `NOTEBOOK`, the number of the notebook that uses it; `RECIPES`, by the name of the checkpoint; `MINUTES`, by
that name without its seed, how long a training takes on two cores; `needs(name)`, the checkpoints that are loaded for
it; and `train(name)`, which writes the checkpoint and returns what its card says.
"""

CHECKPOINTS: dict[str, ModuleType] = {name: module for module in MODULES for name in module.RECIPES}

EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        experiment_02_controls,
        experiment_02_dense,
        experiment_02_fashion,
        experiment_04_repairs,
        experiment_04_retraining,
        experiment_05_schedules,
        experiment_05_controls,
        experiment_05_dense,
        experiment_05_early_rise,
        experiment_05_fashion,
        experiment_05_more_seeds,
        experiment_06_trained_alike,
        experiment_06_chosen_neurons,
        experiment_07_starts,
        experiment_07_ranks,
        experiment_08_codebooks,
        experiment_08_last_layer,
        experiment_08_repair,
        experiment_09_calibration,
        experiment_10_widths,
        experiment_10_gptq,
        experiment_03_latencies,
        experiment_03_starts,
        experiment_03_fashion,
        experiment_03_thousand,
        experiment_11_two_hosts,
        experiment_16_latencies,
        experiment_16_search,
        experiment_16_as_long,
        experiment_16_supernet,
        experiment_16_distillation,
        experiment_18_frontier,
        experiment_19_one_shot,
        experiment_19_distilled,
        experiment_19_seeds,
        experiment_19_repairs,
        experiment_19_shares,
        experiment_20_adapters,
        experiment_20_forms,
        experiment_20_starts,
        experiment_21_shared_keys,
    )
}
"""The long experiments by the name of their table in `data/experiments/`: each module has `NAME`, `MINUTES`, what the
table's digest must be, `digest()`, and `run()`, which trains what the table lacks and writes it."""


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names, each once, in an order in which what a training loads has been trained before.

    >>> in_order(["LeNet300100-rank-21", "LeNet5"])
    ['LeNet5', 'LeNet300100-rank-21']
    """
    wanted = set(names)
    unknown = sorted(wanted - CHECKPOINTS.keys())
    if unknown:
        raise ValueError(f"there is no recipe for {unknown[0]!r}; there are: {', '.join(CHECKPOINTS)}")
    return [name for name in CHECKPOINTS if name in wanted]


def train(name: str) -> dict[str, object]:
    """Train a checkpoint again, write its file and card, and return what the card says."""
    (name,) = in_order([name])
    return CHECKPOINTS[name].train(name)


def listing() -> str:
    """Return a table of all checkpoints as text: name, notebook, minutes of training, what is loaded for it."""
    rows = [("checkpoint", "notebook", "minutes", "needs")]
    for name, module in CHECKPOINTS.items():
        minutes = module.MINUTES[name.partition("-seed")[0]]
        rows.append((name, module.NOTEBOOK, str(minutes), ", ".join(module.needs(name)) or "-"))
    return "\n".join(f"{name:<32}{notebook:<10}{minutes:>7}  {needs}" for name, notebook, minutes, needs in rows)
