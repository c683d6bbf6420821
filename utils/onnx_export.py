"""Out of PyTorch's eager mode: ONNX files, ONNX Runtime sessions, int8 by calibration, and compiled networks.

Each of the forms behaves like the network it came from, a module from a float tensor to a float tensor, so that
`training.evaluate` and `timing.latencies` take it as they take any network.
"""

import contextlib
import copy
import io
import json
import logging
import sysconfig
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from utils.files import replace_file
from utils.input_validation import require_inputs, require_int, require_permanent
from utils.models import evaluating

if TYPE_CHECKING:
    import onnx

METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""How ONNX Runtime can choose the range of an activation from what calibration saw, and its own name for that."""


class ExportError(RuntimeError):
    """ONNX Runtime cannot run a file, or a network cannot be written to one."""


class CompilerUnavailableError(RuntimeError):
    """There is no C++ compiler, or no Python headers for it, so nothing can be compiled on this machine."""


# --- ONNX files -------------------------------------------------------------------------------------------------------


def export_onnx(model: nn.Module, example: torch.Tensor, path: str | Path) -> Path:
    """Write a network to one ONNX file, in evaluation mode, for any batch size; return the path.

    The exporter traces the network once (`torch.export`) and folds each batch norm into the convolution in front of it.
    What it notes about every operation, lines of source with their paths among it, is removed: it is no part of the
    network, differs between machines, and can take more bytes than the weights of a small network.

    Args:
        model: the network; a copy of it is traced.
        example: one input or more, of shape (N, ...); only its shape behind N and its dtype matter.
        path: where to write.

    Raises:
        ExportError: the network cannot be traced, holds for some batch sizes only, or the file cannot be written.
        ValueError: the network is one of `qat.prepare`, not converted: its file would round float numbers.
    """
    path = Path(path)
    _require_converted(require_permanent("model", model))
    traced = _traced(model, require_inputs("example", example), what=f"written to {path.name}")
    try:
        with quiet():
            program = torch.onnx.export(traced, (), dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False)
        replace_file(path, _without_notes(program.model_proto))
    except (RuntimeError, OSError) as error:
        raise ExportError(f"{type(model).__name__} cannot be written to {path.name}: {_cause(error)}") from error
    return path


def export_fixed(
    model: nn.Module,
    example: tuple[torch.Tensor, ...],
    path: str | Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> Path:
    """Write a network with several inputs or outputs to one ONNX file, for the shapes of the example alone.

    Args:
        model: the network; a copy of it is traced, in evaluation mode.
        example: its inputs.
        path: where to write.
        inputs, outputs: their names in the file.

    Raises `ExportError` as `export_onnx` does.
    """
    path = Path(path)
    try:
        with quiet():
            traced = torch.export.export(copy.deepcopy(model).cpu().eval(), example)
            names = {"input_names": list(inputs), "output_names": list(outputs)}
            program = torch.onnx.export(traced, (), dynamo=True, verbose=False, **names)
        replace_file(path, _without_notes(program.model_proto))
    except Exception as error:  # tracing runs the network's own code
        raise ExportError(f"{type(model).__name__} cannot be written to {path.name}: {_cause(error)}") from error
    return path


def _require_converted(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if getattr(module, "must_be_converted", False):
            raise ValueError(
                f"{name or 'model'} is a {type(module).__name__}, which rounds float numbers to float numbers; write "
                "what qat.convert makes of a prepared network, with qat.export_quantized"
            )


def _traced(
    model: nn.Module, example: torch.Tensor, *, what: str, largest: int | None = None
) -> torch.export.ExportedProgram:
    """Trace a copy of a network in evaluation mode for batches of any size, and try the trace on one input."""
    name = type(model).__name__
    copied = copy.deepcopy(model).cpu().eval()
    one = example[:1].detach().cpu()
    two = torch.zeros(2, *example.shape[1:], dtype=example.dtype)  # tracing would take a batch of 1 for a constant
    try:
        with quiet():
            wanted = copied(one) if _runs_in_pytorch(copied) else None
            batch = torch.export.Dim("batch", min=1, max=largest)
            traced = torch.export.export(copied, (two,), dynamic_shapes=({0: batch},))
            received = None if wanted is None else traced.module()(one)
    except Exception as error:  # tracing runs the network's own code
        raise ExportError(f"{name} cannot be {what}: {_cause(error)}") from error
    if isinstance(wanted, torch.Tensor) and not torch.allclose(received, wanted, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise ExportError(f"{name} cannot be {what}: it computes otherwise for a batch of one than for two")
    return traced


def _runs_in_pytorch(model: nn.Module) -> bool:
    return not any(getattr(module, "runs_in_onnx_only", False) for module in model.modules())


def _cause(error: BaseException) -> str:
    """Say in one line why a network cannot be traced: what was raised first, and by which line of the network."""
    while error.__cause__ or (error.__context__ and not error.__suppress_context__):
        error = error.__cause__ or error.__context__
    if isinstance(error, OSError):
        return error.strerror or str(error)
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    if "data-dependent" in reason:
        reason = "what it computes depends on the values in a tensor, by an if, an int() or a float()"
    elif "Constraints violated" in reason:
        reason = "it holds for one batch size only; take the size from x.shape[0], not from len(x), int() or a loop"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _in_a_library(frame.filename)]
    return f"{reason} (in {own[-1].name}: {own[-1].line})" if own and own[-1].line else reason


def _in_a_library(filename: str) -> bool:
    libraries = sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]
    return filename.startswith((*libraries, "<")) or Path(filename).parent == Path(__file__).parent


def _without_notes(network: "onnx.ModelProto") -> bytes:
    graph = network.graph
    for part in (graph, *graph.input, *graph.output, *graph.node, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return network.SerializeToString()


INPUT_TYPES = {"tensor(float)": torch.float32, "tensor(int64)": torch.int64, "tensor(int32)": torch.int32}
"""What a file may read, as ONNX Runtime names it."""


class OnnxModel(nn.Module):
    """An ONNX file as a network on the CPU: a tensor of shape (N, ...) in, of float32 or of integers, one out.

    It has no parameters and cannot be trained.

    Args:
        path: an ONNX file with one input and one output.
        threads: of ONNX Runtime, within one operation.
        optimized: False leaves the graph as the file has it, so that a quantized file is computed in float32 with
            rounding in between (the simulation) and not by integer kernels.

    Raises:
        ExportError: the file is missing or damaged, or has another number of inputs or outputs.
    """

    computes_outside_pytorch = True
    """So that `accounting` refuses to count what it cannot see."""

    def __init__(self, path: str | Path, *, threads: int = 1, optimized: bool = True):
        super().__init__()
        import onnxruntime  # here and not above: whoever does not use it does not wait for it

        self.path = Path(path)
        if not self.path.is_file():
            raise ExportError(f"there is no file {self.path.name}; write one with export_onnx(model, example, path)")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = require_int("threads", threads, minimum=1)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base below Exception
            raise ExportError(
                f"{self.path.name} is no ONNX file that ONNX Runtime can run; is it damaged? It says: {error}"
            ) from error
        inputs = self._session.get_inputs()
        outputs = self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in INPUT_TYPES:
            raise ExportError(
                f"{self.path.name} must have one input, of float32 or integers, and one output; it has "
                f"{[each.type for each in inputs]} and {[each.type for each in outputs]}"
            )
        self.input_name, self.dtype = inputs[0].name, INPUT_TYPES[inputs[0].type]
        self._shape = tuple(inputs[0].shape[1:])
        self._outputs = [outputs[0].name]
        self._run = self._session.run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the outputs."""
        _require_input(self.path.name, x, self._shape, self.dtype)
        (output,) = self._run(self._outputs, {self.input_name: x.detach().numpy()})
        return torch.from_numpy(output)

    def extra_repr(self) -> str:
        return self.path.name


def count_operations(path: str | Path, *, optimized: bool = False) -> dict[str, int]:
    """Return how many operations of each kind an ONNX file holds, the most frequent first.

    Args:
        path: an ONNX file.
        optimized: False counts them as the file is written; True as ONNX Runtime will run it on this machine.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        if optimized:
            path = _as_it_runs(path, Path(folder) / "optimized.onnx")
        kinds = Counter(node.op_type for node in onnx.load(Path(path)).graph.node)
    return dict(kinds.most_common())


def _as_it_runs(source: str | Path, target: Path) -> Path:
    """Write the graph that ONNX Runtime makes of a file before it runs it; return the path."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: it warns that such a file is made for this machine
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), sess_options=options, providers=["CPUExecutionProvider"])
    return target


def seconds_by_operation(path: str | Path, x: torch.Tensor, *, calls: int = 20) -> dict[str, float]:
    """Return the seconds that each kind of operation of an ONNX file takes in one call, one thread; the longest first.

    ONNX Runtime's own profiler notes how long each operation's kernel runs. What passes between operations is not
    counted, and the noting takes time of its own, so that a call takes longer than the sum.

    Args:
        path: an ONNX file with one input.
        x: the input, a float32 tensor of shape (N, ...).
        calls: over which the seconds are averaged, after one that is not counted.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling = True
    options.log_severity_level = 3  # errors only
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x.detach().numpy()}
        for _ in range(1 + require_int("calls", calls, minimum=1)):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            found.setdefault((event["args"]["op_name"], event["name"]), []).append(event["dur"] * 1e-6)
    total: dict[str, float] = {}
    for (kind, _), seconds in found.items():
        total[kind] = total.get(kind, 0.0) + sum(seconds[1:]) / calls
    return dict(sorted(total.items(), key=lambda item: -item[1]))


# --- int8 in ONNX -----------------------------------------------------------------------------------------------------


FORMATS = {"U8S8": ("QUInt8", "QInt8"), "U8U8": ("QUInt8", "QUInt8"), "S8S8": ("QInt8", "QInt8")}
"""The formats that ONNX Runtime's kernels for processors read: the types of the activations and of the weights."""


def quantize_onnx_static(
    source: str | Path,
    target: str | Path,
    calibration_batches: Iterable[torch.Tensor],
    *,
    per_channel: bool = True,
    reduce_range: bool = True,
    method: str = "minmax",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    activation_bits: int = 8,
    data_format: str = "U8S8",
) -> Path:
    """Quantize an ONNX file to int8 with fixed ranges, as QuantizeLinear pairs.

    Args:
        source: a float32 file, as `export_onnx` writes it.
        target: where to write.
        calibration_batches: inputs of the training split; they decide the ranges of the activations.
        per_channel: one scale for each output channel of a weight, or one for the whole tensor. The weight of an
            embedding has one, also where a layer behind it reads the same weight.
        reduce_range: weights of 7 bits, -64 to 64. Without them the sum of two products can exceed 16 bits, which
            saturates on x86 processors without VNNI, so that only with True the file is right on every machine.
        method: one of `METHODS`.
        ranges: lowest and highest value for some activations by name, instead of what `method` finds.
        activation_bits: 8, or 4 to see what a coarser grid costs; for 4 bits there are no integer kernels, so that the
            file is computed in float32 with rounding in between.
        data_format: one of `FORMATS`, named as in ONNX Runtime's documentation: U8S8 has unsigned activations and
            signed weights.
    """
    if data_format not in FORMATS:
        raise ValueError(f"data_format must be one of {', '.join(FORMATS)}, got {data_format!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if activation_bits not in (4, 8):
        raise ValueError(f"activation_bits must be 4 or 8, got {activation_bits!r}")
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static

    activations, weights = FORMATS[data_format]
    if activation_bits == 4:
        activations = activations.replace("8", "4")
    reader = _Reader(OnnxModel(source), calibration_batches)
    with tempfile.TemporaryDirectory() as folder, quiet():
        preprocessed = _preprocessed(source, folder)
        graph_model = onnx.load(preprocessed)
        if unknown := (ranges or {}).keys() - _activations(graph_model):
            raise ValueError(
                f"{Path(source).name} has no activation {min(unknown)!r}; activation_ranges gives the names"
            )
        quantize_static(
            preprocessed,
            Path(target),
            reader,
            per_channel=per_channel,
            reduce_range=reduce_range,
            activation_type=getattr(QuantType, activations),
            weight_type=getattr(QuantType, weights),
            calibrate_method=getattr(CalibrationMethod, METHODS[method]),
            extra_options={"TensorQuantOverrides": _overrides(ranges or {}) | _of_one_scale(graph_model)},
        )
    return Path(target)


def quantize_onnx_in_format(
    source: str | Path, target: str | Path, calibration_batches: Iterable[torch.Tensor], data_format: str
) -> Path:
    """Quantize an ONNX file to int8 with fixed ranges, all 8 bits and a scale for each channel, in a chosen format.

    It is `quantize_onnx_static` with all 8 bits of the weights, and ranges by "minmax".
    """
    return quantize_onnx_static(source, target, calibration_batches, reduce_range=False, data_format=data_format)


def activation_ranges(
    source: str | Path, batches: Iterable[torch.Tensor], choose: Callable[[torch.Tensor], tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Choose a range for each activation of an ONNX file by a function of our own, for `quantize_onnx_static`.

    Args:
        source: a float32 file, as `export_onnx` writes it.
        batches: float tensors of the training split.
        choose: takes all values of one activation, a float tensor, and returns the lowest and highest to keep.

    Returns:
        A range for each float value that flows between two operations, the input and the output included.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder, quiet():
        graph_model = onnx.load(_preprocessed(source, folder))
    seen: dict[str, list[torch.Tensor]] = {}
    for found in _watched(source, graph_model, _activations(graph_model), batches):
        for name, values in found.items():
            seen.setdefault(name, []).append(values.flatten())
    chosen = {name: choose(torch.cat(values)) for name, values in seen.items()}
    return {name: (float(low), float(high)) for name, (low, high) in chosen.items()}


def correct_biases(
    source: str | Path, quantized: str | Path, target: str | Path, batches: Iterable[torch.Tensor]
) -> Path:
    """Take out of each bias what the rounding of the weights added to the layer's mean output; return the path.

    Rounding changes W x by (W_q - W) x, and its mean over the inputs, (W_q - W) E[x], is a constant for each output
    that the bias can take back: b' = b - (W_q - W) E[x] (Nagel et al., 2019, section 4.2). E[x] is the mean of each
    input channel over the batches, in float32; that a convolution also sees the zeros around its image is neglected.
    Weights, scales and the file's size stay.

    Args:
        source: the float32 file.
        quantized: what `quantize_onnx_static` made of it.
        target: where to write.
        batches: float tensors of the training split.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder, quiet():
        graph_model = onnx.load(_preprocessed(source, folder))
    corrected = onnx.load(Path(quantized))
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph_model.graph.initializer}
    codes = {tensor.name: tensor for tensor in corrected.graph.initializer}
    layers = [
        node
        for node in graph_model.graph.node
        if len(node.input) == 3 and {f"{node.input[1]}_quantized", f"{node.input[2]}_quantized"} <= codes.keys()
    ]
    readers = {node.input[0]: node for node in layers}  # one for each input
    pooled = {name: _pooled(graph_model, node) for name, node in readers.items()}
    sums: dict[str, torch.Tensor] = {}
    wanted = set(pooled.values())  # with a memory pattern these runs took 300 MB more for EfficientNet-Lite0
    images = [image for batch in _calibration_batches(batches) for image in batch.split(1)]  # one by one: memory
    for found in _watched(source, graph_model, wanted, images, memory_pattern=False):
        for name, watched in pooled.items():
            mean = found[watched].double().flatten(1).mean(dim=0)
            sums[name] = sums[name].add_(mean) if name in sums else mean
    for node in layers:
        number = {kind: onnx.numpy_helper.to_array(codes[f"{node.input[1]}_{kind}"]) for kind in _WEIGHT_PARTS}
        weight = torch.tensor(weights[node.input[1]]).double()
        shape = (-1, *[1] * (weight.ndim - 1))
        scale, zero_point = (torch.tensor(number[kind]).double().view(shape) for kind in ("scale", "zero_point"))
        added = (torch.tensor(number["quantized"]).double() - zero_point) * scale - weight
        added = added.flatten(2).sum(dim=2) if weight.ndim > 2 else added  # (outputs, inputs of one group)
        mean = sums[node.input[0]] / len(images)  # (inputs,)
        groups = len(mean) // added.shape[1]
        by_group = added.unflatten(0, (groups, -1)) * mean.view(groups, 1, -1)
        bias = codes[f"{node.input[2]}_quantized"]
        step = torch.tensor(onnx.numpy_helper.to_array(codes[f"{node.input[2]}_quantized_scale"])).double()
        moved = onnx.numpy_helper.to_array(bias) - (by_group.sum(dim=2).flatten() / step).round().int().numpy()
        bias.CopyFrom(onnx.numpy_helper.from_array(moved.astype(np.int32), bias.name))
    replace_file(Path(target), corrected.SerializeToString())
    return Path(target)


def _pooled(graph_model: "onnx.ModelProto", node: "onnx.NodeProto") -> str:
    """Return the name under which the means of a layer's input channels flow; a convolution's are added to the graph.

    Call it once for each input, for one of the layers that read it.

    The input itself is as large as its image, and all of a network's together take hundreds of megabytes.
    """
    import onnx

    if node.op_type != "Conv":
        return node.input[0]
    name = f"{node.input[0]}_mean_over_places"
    graph_model.graph.node.append(onnx.helper.make_node("GlobalAveragePool", [node.input[0]], [name]))
    return name


_WEIGHT_PARTS = ("quantized", "scale", "zero_point")


def _watched(
    source: str | Path,
    graph_model: "onnx.ModelProto",
    names: set[str],
    batches: Iterable[torch.Tensor],
    *,
    memory_pattern: bool = True,
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield, for each batch, the values that flow under these names; the graph gets them as further outputs."""
    import onnx
    import onnxruntime

    reader = _Reader(OnnxModel(source), batches)
    wanted = sorted(names - {reader.input_name})
    outputs = {value.name for value in graph_model.graph.output}
    for name in wanted:
        if name not in outputs:
            graph_model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # it would keep twice what all activations take
    options.enable_mem_pattern = memory_pattern
    session = onnxruntime.InferenceSession(
        graph_model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    for feed in iter(reader.get_next, None):
        values = session.run(wanted, feed) if wanted else []  # asked for nothing, it would give everything
        found = feed | dict(zip(wanted, values, strict=True))
        yield {name: torch.from_numpy(found[name]) for name in sorted(names)}


def quantize_onnx_dynamic(source: str | Path, target: str | Path) -> Path:
    """Quantize the weights of an ONNX file to uint8; the ranges of the activations are found anew for each input."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    OnnxModel(source)  # raises ExportError if the file is missing or damaged
    with tempfile.TemporaryDirectory() as folder, quiet():
        quantize_dynamic(_preprocessed(source, folder), Path(target), per_channel=False, weight_type=QuantType.QUInt8)
    return Path(target)


class _Reader:
    """Gives the calibration batches one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, model: OnnxModel, batches: Iterable[torch.Tensor]):
        self.input_name = model.input_name
        batches = _calibration_batches(batches)
        model(batches[0])  # raises if the shape or the dtype is wrong
        self._left = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._left, None)
        return None if batch is None else {self.input_name: batch.detach().cpu().numpy()}


def _calibration_batches(batches: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    batches = [require_inputs("a calibration batch", batch) for batch in batches]
    if not batches:
        raise ValueError("calibration_batches is empty: the ranges of the activations need at least one batch")
    return batches


def _overrides(ranges: Mapping[str, tuple[float, float]]) -> dict[str, list[dict]]:
    """Write ranges the way ONNX Runtime takes them."""
    for name, (low, high) in ranges.items():
        if not low <= high:
            raise ValueError(f"the range of {name!r} must be (lowest, highest), got ({low}, {high})")
    return {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()}


def _of_one_scale(model: "onnx.ModelProto") -> dict[str, list[dict]]:
    """Name the weights that an embedding reads, as ONNX Runtime takes it: what it looks up has the weight's scale.

    Where a linear layer is tied to the embedding, ONNX Runtime would give the weight a scale for each row and pass
    these on to the output, which has another shape, so that the file could not run.
    """
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return {node.input[0]: [{}] for node in model.graph.node if node.op_type == "Gather" and node.input[0] in weights}


def _activations(model: "onnx.ModelProto") -> set[str]:
    """Return the names of the float values that flow through the graph, the input and the output included."""
    graph, float_type = model.graph, 1  # onnx.TensorProto.FLOAT
    described = (*graph.input, *graph.output, *graph.value_info)
    floats = {value.name for value in described if value.type.tensor_type.elem_type == float_type}
    return floats & ({name for node in graph.node for name in node.output} | {value.name for value in graph.input})


def _preprocessed(source: str | Path, folder: str) -> Path:
    """Write the graph with its shapes inferred and its constants folded, as quantization wants it; return the path.

    Shapes with a name for the batch size are tried first. ONNX Runtime cannot follow one through all operations: of
    `nn.Upsample` it makes a shape without a batch size, and gives up. Then ONNX's own inference has to do.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, path = Path(source).resolve(), Path(folder).resolve() / "preprocessed.onnx"
    with contextlib.chdir(folder):  # where it gives up, it leaves the graph in the folder that it runs in
        try:
            quant_pre_process(source, path)
        except Exception:  # it raises no class of its own
            quant_pre_process(source, path, skip_symbolic_shape=True)
    return path


# --- compiled networks ------------------------------------------------------------------------------------------------


def compiler_available() -> bool:
    """Tell whether `torch.compile` can work here: it needs a C++ compiler and the headers of this Python.

    PyTorch's own search is asked, which takes the compiler that the variable CXX names, else g++ (cl on Windows).
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    try:
        return bool(get_cpp_compiler()) and headers.is_file()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        return False


class CompiledModel(nn.Module):
    """A compiled network for inputs of one shape, on the CPU; made by `compiled`.

    A larger batch is cut into pieces and a smaller one filled up with zeros, so that nothing is ever compiled again.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]):
        super().__init__()
        self._function = (function,)  # in a tuple: not a part that train() and eval() reach
        self._shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the outputs for a float32 tensor of shape (N, ...)."""
        _require_input("the compiled network", x, self._shape[1:])
        if x.shape == self._shape:
            return self._call(x)
        size = self._shape[0]
        pieces = [torch.cat([p, p.new_zeros(size - len(p), *p.shape[1:])]) for p in x.split(size)]
        return torch.cat([self._call(piece) for piece in pieces])[: len(x)]

    def _call(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(False), torch.no_grad():  # always the mode it was compiled in, or it would be again
            return self._function[0](x)


def compiled(model: nn.Module, example: torch.Tensor) -> CompiledModel:
    """Compile a network with `torch.compile` for inputs of the shape of `example`, in evaluation mode.

    It takes from some seconds to half a minute, which is spent here and not at the first call.

    Args:
        model: the network, or what `pt2e_int8` returned; it is copied.
        example: a batch of the size that is wanted.

    Raises:
        CompilerUnavailableError: there is no compiler, see `compiler_available`, or it fails.
    """
    require_permanent("model", model)
    if not compiler_available():
        raise CompilerUnavailableError(
            "torch.compile needs a C++ compiler and Python's headers, and finds none; "
            "install g++ (on Windows: cl) or name yours in the variable CXX"
        )
    from torch._inductor import config
    from torch._inductor.exc import CppCompileError, InductorError

    function = model.graph_module if isinstance(model, Pt2eModel) else copy.deepcopy(model).eval()
    # Frozen weights are constants: batch norms are folded, weights laid out anew. No probing, no pool of processes.
    settings = {"freezing": True, "cpp.vec_isa_ok": True, "compile_threads": 1}
    function = torch.compile(function, dynamic=False, fullgraph=True)
    wrapped = CompiledModel(function, tuple(example.shape))
    with quiet(), config.patch(settings):
        try:
            wrapped(example)
        except (InductorError, CppCompileError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CompilerUnavailableError(f"the C++ compiler fails on what PyTorch wrote: {reason}") from error
    return wrapped


class Pt2eModel(nn.Module):
    """A network quantized in the exported graph, not yet compiled: slow, and the same numbers; made by `pt2e_int8`."""

    def __init__(self, graph_module: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self._graph = (graph_module,)  # in a tuple: an exported graph refuses train() and eval()
        self._shape = shape

    @property
    def graph_module(self) -> nn.Module:
        """The graph that `torch.compile` takes."""
        return self._graph[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the outputs for a float32 tensor of shape (N, ...)."""
        _require_input("the quantized network", x, self._shape[1:])
        with torch.no_grad():
            return self.graph_module(x)


def pt2e_int8(model: nn.Module, calibration_batches: Iterable[torch.Tensor]) -> Pt2eModel:
    """Quantize a network by torchao's PT2E flow for x86 processors: export, observe, calibrate, convert.

    The weights take 8 bits per channel. The activations take 7, so that no sum of two products exceeds 16 bits;
    `quantize_onnx_static` takes that bit from the weights instead. `compiled` makes integer kernels of the result.

    Args:
        model: the network, without quantization.
        calibration_batches: inputs of the training split; they decide the ranges of the activations.
    """
    batches = _calibration_batches(calibration_batches)
    with quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=True))
        prepared = prepare_pt2e(exported_graph(model, batches[0]), quantizer)
        with torch.no_grad():
            for images in batches:
                prepared(images)
        return Pt2eModel(convert_pt2e(prepared), tuple(batches[0].shape))


def exported_graph(model: nn.Module, example: torch.Tensor) -> torch.fx.GraphModule:
    """Return a network in evaluation mode as the graph that torchao works on, for batches of any size up to 2^16."""
    return _traced(require_permanent("model", model), example, what="exported", largest=2**16).module()


# --- batch norms folded away ------------------------------------------------------------------------------------------


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Return a copy in which each batch norm is folded into the convolution or linear layer in front of it.

    A batch norm in evaluation mode computes gamma (y - mean) / sqrt(variance + eps) + beta for each channel, which is
    linear in y = W x + c, so that W' = W gamma / sqrt(variance + eps) and c' = (c - mean) gamma / sqrt(...) + beta
    compute both at once (Jacob et al., 2018, section 3.2). The batch norm's place is taken by an identity.

    Which layer stands in front of which is read off the network's traced graph, not off the order of definition. A
    batch norm that follows no such layer, or one whose output is read elsewhere too, stays.

    Raises:
        ExportError: the network cannot be traced by `torch.fx`.
    """
    folded = copy.deepcopy(require_permanent("model", model))
    try:
        with evaluating(folded):
            graph = torch.fx.symbolic_trace(folded).graph
    except Exception as error:  # tracing runs the network's own code
        reason = _cause(error)
        raise ExportError(f"{type(model).__name__} cannot be traced, so its layers are not known: {reason}") from error
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        front = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(front, torch.fx.Node) or front.op != "call_module" or len(front.users) != 1:
            continue
        layer = folded.get_submodule(front.target)
        norm = folded.get_submodule(node.target)
        once = calls.count(front.target) == calls.count(node.target) == 1
        foldable = isinstance(layer, _FOLDABLE) and not parametrize.is_parametrized(layer)
        if once and foldable and isinstance(norm, _NORMS) and norm.track_running_stats:
            # for linear layers too: fuse_linear_bn_weights fails without gamma and beta
            layer.weight, layer.bias = fuse_conv_bn_weights(
                layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            layer.bias.requires_grad_()  # where there was none, PyTorch's would not learn
            folded.set_submodule(str(node.target), nn.Identity().train(norm.training))
    return folded


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Linear)


# --- for all of these -------------------------------------------------------------------------------------------------


def _require_input(whose: str, x: torch.Tensor, shape: tuple, dtype: torch.dtype = torch.float32) -> None:
    """Check that `x` is a tensor of `dtype` on the CPU of shape `(N, *shape)`, N at least 1; timed with every call."""
    if x.dtype != dtype:
        raise TypeError(f"{whose} takes {dtype}, got {type(x).__name__} of {x.dtype}; convert it: .to({dtype})")
    if x.shape[1:] != shape or not len(x) or not x.is_cpu:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise ValueError(
            f"{whose} takes inputs of shape ({wanted}) on the CPU, N at least 1, got {tuple(x.shape)} on {x.device}"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what libraries print, log below errors, and warn of inside the block, mostly about their own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
