"""Code that is shown is the code that lies in the file."""

import pytest

from utils.source_code import show_source, source_of


def test_functions_methods_and_whole_files_are_shown_as_they_are(capsys):
    both = source_of("utils/all_reduce.py", "Links.send", "ring_all_reduce")
    assert both.startswith("def send(self, values: torch.Tensor, to: int) -> None:\n    ")
    assert "\n\n\ndef ring_all_reduce(" in both
    assert both.endswith("return torch.cat(pieces).view(values.shape)")
    compile(both, "both", "exec")
    assert "class Links:" in source_of("utils/all_reduce.py")
    show_source("utils/files.py", "results_folder")
    assert "def results_folder" in capsys.readouterr().out


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"files\.py does not define 'nothing'; it has: results_folder"):
        source_of("utils/files.py", "nothing")
