"""The yardsticks of the roof: that they compute what their operations are counted for, and by which library."""

import pytest
import torch
from torch import nn

from utils import roofline
from utils.accounting import count_macs


def test_the_operations_of_a_yardstick_are_those_that_pytorch_counts():
    for name, each in roofline.yardsticks().items():
        if name != "product by oneDNN":  # of oneDNN's tensors PyTorch's counter knows nothing
            with torch.utils.flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
                each.call()
            assert counter.get_total_flops() == each.flops, name


def test_both_products_are_the_same_product():
    routines = roofline.yardsticks()
    with torch.inference_mode():
        ours, theirs = routines["product"].call(), routines["product by oneDNN"].call()
    assert (ours - (theirs.to_dense() if theirs.is_mkldnn else theirs)).abs().max() < 1e-2  # of sums of about 96


def test_each_reading_goes_through_as_many_bytes_as_it_says():
    readings = roofline.readings(40, 50)
    assert {each.nbytes for each in readings.values()} == {40 * 50 * 4}
    copied, source = readings["copy"].call(), readings["copy"].call.args[0]
    assert torch.equal(copied, source)
    assert copied.nbytes + source.nbytes == readings["copy"].nbytes
    assert copied.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()  # two halves of one matrix
    matrix, vector = readings["times a vector"].call.args
    assert torch.allclose(readings["sum"].call(), matrix.sum())
    with torch.inference_mode():
        ours, theirs = readings["times a vector"].call(), readings["times a vector, oneDNN"].call()
    assert torch.allclose(ours, matrix @ vector)
    assert torch.allclose((theirs.to_dense() if theirs.is_mkldnn else theirs)[0], ours, atol=1e-3)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_by_onednn_is_computed_by_onednn_and_equals_the_layer(bias):
    layer, inputs = nn.Linear(30, 20, bias=bias), torch.rand(7, 30)
    result = roofline.linear_by_onednn(layer, inputs)()
    assert result.is_mkldnn
    assert torch.allclose(result.to_dense(), layer(inputs), atol=1e-5)
    assert torch.equal(roofline.linear_by_onednn(layer, inputs, convert_inside=True)(), result.to_dense())
    assert count_macs(layer, inputs[:1]) == 600


def test_without_onednn_the_layer_computes_itself(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    layer, inputs = nn.Linear(3, 2), torch.rand(4, 3)
    assert torch.equal(roofline.linear_by_onednn(layer, inputs)(), layer(inputs))
    assert set(roofline.yardsticks()) == {"product", "product by oneDNN", "convolution"}


def test_the_rates_are_of_this_process_and_of_a_held_one(monkeypatch):
    def told(command, **given):
        assert all(given["env"][name].lower() == "avx2" for name in roofline.HELD_TO_AVX2)
        return run(command, **given)

    run = roofline.subprocess.run
    monkeypatch.setattr(roofline.subprocess, "run", told)
    here, held = roofline.rates(repeats=1), roofline.rates_held_to_avx2(repeats=1)
    assert here.keys() == held.keys() == roofline.yardsticks().keys()
    for rate in (*here.values(), *held.values()):
        assert 1e8 < rate < 1e13


def test_held_to_avx2_onednn_says_so(monkeypatch, capfd):
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("no oneDNN, or a processor without AVX2")
    monkeypatch.setenv("ONEDNN_VERBOSE", "1")
    monkeypatch.setattr(roofline.json, "loads", lambda line: line)
    run = roofline.subprocess.run
    said = []
    monkeypatch.setattr(roofline.subprocess, "run", lambda *a, **k: said.append(run(*a, **k)) or said[-1])
    roofline.rates_held_to_avx2(repeats=1)
    assert "isa:Intel AVX2" in said[0].stdout
    assert "avx512" not in said[0].stdout
