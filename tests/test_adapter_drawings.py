"""Drawings of adapters say the sizes that they are given."""

from matplotlib import pyplot as plt

from utils import adapter_drawings


def texts(figure):
    found = " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    plt.close(figure)
    return found


def test_an_adapter_shows_its_shapes():
    said = texts(adapter_drawings.adapter(160, 416, 3))
    assert "160 × 416" in said
    assert "3 × 416" in said
    assert "160 × 3" in said


def test_one_base_shows_each_adapter_once():
    said = texts(adapter_drawings.one_base(["prose", "telegram"], base="W, once"))
    assert said.count("prose") == said.count("telegram") == said.count("W, once") == 1
