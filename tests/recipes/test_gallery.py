"""The gallery: every tool on a small network, refusals in the tools' words, a table that goes on where it stopped."""

import pytest
import torch
from torch import nn

from utils.__main__ import main
from utils.experiment_files import read_experiment
from utils.files import ROOT
from utils.recipes import gallery
from utils.recipes.gallery import NETWORKS, TOOLS, Exhibit, LSTMClassifier, as_markdown, as_text, lived_in, tried

LESSON = ROOT / "lessons" / "22_your_own_network.md"


def small():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    return Exhibit(lived_in(network), torch.randn(4, 1, 4, 4))


def test_every_tool_works_on_a_plain_network():
    found = {tool: tried("small", tool, small()) for tool in TOOLS}
    assert not [row for row in found.values() if "refused" in row]
    assert found["parameters"]["parameters"] == 40 + 8 + 136 + 27
    assert found["MACs"]["macs"] == 4 * 36 + 128 + 24
    assert found["masks"]["in_reach"] == pytest.approx((36 + 128 + 24) / 211, abs=1e-3)
    assert found["narrowing"]["groups"] == found["narrowing"]["of_groups"] == 2
    assert max(found[tool]["off"] for tool in ("narrowing", "export", "low rank")) < 1e-4
    assert min(found[tool]["decibels"] for tool in ("int8 by hand", "dynamic int8")) > 20
    assert found["int8 by hand"]["weights_left_in_float"] == 0
    assert found["low rank"]["parameters_left"] < 1


def test_what_a_tool_cannot_do_is_said_in_its_words():
    torch.manual_seed(0)
    exhibit = Exhibit(LSTMClassifier().eval(), torch.randn(2, 5, 20))
    assert tried("LSTM", "narrowing", exhibit)["refused"] == "no group of channels can be removed"
    assert tried("LSTM", "int8 by hand", exhibit)["weights_left_in_float"] == 4
    rows = [tried("LSTM", tool, exhibit) for tool in ("narrowing", "parameters")]
    assert as_text(rows).splitlines() == [
        "LSTM",
        "  narrowing     refused: no group of channels can be removed",
        "  parameters    parameters 55,946",
    ]


def test_a_group_that_cannot_be_narrowed_does_not_stop_the_others():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.three(torch.relu(self.two(torch.relu(self.one(x)).view(-1, 8))))

    torch.manual_seed(0)
    row = tried("fixed", "narrowing", Exhibit(Fixed().eval(), torch.randn(3, 6)))
    assert (row["groups"], row["of_groups"]) == (1, 2)


def test_an_error_that_says_nothing_is_no_refusal(monkeypatch):
    def broken(_):
        raise TypeError("'NoneType' object has no attribute 'weight'")

    monkeypatch.setitem(TOOLS, "parameters", broken)
    with pytest.raises(TypeError, match="NoneType"):
        tried("small", "parameters", small())


def test_the_table_goes_on_where_it_stopped(monkeypatch, tmp_path, capsys):
    made = []
    monkeypatch.setattr(gallery, "NETWORKS", {name: lambda name=name: made.append(name) or small() for name in "ab"})
    few = {name: TOOLS[name] for name in ("parameters", "MACs")}
    monkeypatch.setattr(gallery, "TOOLS", few)
    gallery.run(["a"], folder=tmp_path)
    text = gallery.run(["a", "b"], folder=tmp_path)
    assert made == ["a", "b"]
    about, rows = read_experiment(gallery.NAME, folder=tmp_path)
    assert about["digest"] == gallery.digest()
    assert [(row["network"], row["tool"]) for row in rows] == [(n, t) for n in "ab" for t in few]
    assert text.splitlines()[0] == "a"
    monkeypatch.setattr(gallery, "digest", lambda: "other code")
    gallery.run(["a"], folder=tmp_path)
    assert made == ["a", "b", "a"]


def test_the_lesson_shows_the_commands_table_and_it_is_not_stale():
    about, rows = read_experiment(gallery.NAME)
    again = "run `python -m utils gallery --markdown` again, and put the table into lesson 22"
    assert about["digest"] == gallery.digest(), again
    assert [(row["network"], row["tool"]) for row in rows] == [(name, tool) for name in NETWORKS for tool in TOOLS]
    assert f"\n\n{as_markdown(rows)}\n\n" in LESSON.read_text(encoding="utf-8"), again


def test_the_lessons_table_names_refusals_once_and_counts_in_units():
    rows = [
        {"network": "one", "tool": "export", "refused": "it has an if", "seconds": 1.0},
        {"network": "one", "tool": "low rank", "layers": 1, "off": 2e-7, "parameters_left": 0.966, "seconds": 1.0},
        {"network": "two", "tool": "export", "refused": "it has an if", "seconds": 1.0},
        {"network": "two", "tool": "low rank", "layers": 3, "off": 2e-7, "parameters_left": 0.5, "seconds": 1.0},
    ]
    assert as_markdown(rows).splitlines() == [
        "| network | export | low rank |",
        "|---|---|---|",
        "| one | refused (1) | 1 layer, 97 % left, off 2e-07 |",
        "| two | refused (1) | 3 layers, 50 % left, off 2e-07 |",
        "",
        '1. "it has an if"',
    ]


def test_the_command_tries_what_is_named(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(gallery, "run", lambda names: asked.append(names) or "the table")
    assert main(["gallery", "LSTM"]) == 0
    assert main(["gallery"]) == 0
    assert asked == [["LSTM"], list(NETWORKS)]
    assert capsys.readouterr().out == "the table\nthe table\n"
    assert main(["gallery", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| network | parameters | MACs |")
    assert main(["gallery", "AlexNet"]) == 2
    assert "there is no network 'AlexNet' in the gallery; there are: resnet18" in capsys.readouterr().err
