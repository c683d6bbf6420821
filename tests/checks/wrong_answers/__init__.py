"""Plausible wrong answers to the exercises, at least three for each; the checks must refuse every one.

Those of notebook NN stand in the module nbNN, by exercise.
"""

import importlib
import pkgutil

WRONG_ANSWERS = {
    identity: answers
    for module in pkgutil.iter_modules(__path__)
    for identity, answers in importlib.import_module(f"{__name__}.{module.name}").WRONG_ANSWERS.items()
}
