"""The table of calibrations: one row measured again, and the rounding it says."""

import onnx
import pytest
import torch

from utils.experiment_files import condition, read_experiment
from utils.models import LeNet5
from utils.onnx_export import export_onnx
from utils.recipes import experiment_09_calibration as calibration


@pytest.mark.parametrize(("bits", "kind"), [(8, onnx.TensorProto.UINT8), (4, onnx.TensorProto.UINT4)])
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_weights_keep_their_bits_and_activations_get_the_given_ones(tmp_path, method, bits, kind):
    torch.manual_seed(0)
    images = [torch.rand(8, 1, 28, 28)]
    source = export_onnx(LeNet5(channels=(2, 3), hidden=4), images[0][:1], tmp_path / "float32.onnx")
    graph = onnx.load(calibration.quantized(source, images, method=method, bits=bits)).graph
    numbers = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = [node.input[0] for node in graph.node if "weight_quantized" in node.input[0]]
    assert len(weights) == 4
    assert {numbers[name] for name in weights} == {onnx.TensorProto.INT8}
    rounded = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {numbers[node.input[2]] for node in rounded} == {kind}


@pytest.mark.slow
@pytest.mark.in_turn(4)
def test_a_row_is_what_the_shipped_network_gives():
    _, rows = read_experiment(calibration.NAME)
    for row in (rows[0], next(row for row in rows if row["bits"] == 4)):
        assert calibration.error_of(**condition(row)) == pytest.approx(row["error"], abs=0.3)
