"""A network handed in as data: a graph of PyTorch's own operations and its tensors, without any code of its author.

What the grader counts and measures is this graph: every number that the network uses is in its state, wherever the
author kept it.
"""

import operator
import re
from typing import Any

import torch
from torch import nn

from utils.course.classroom_wire import Decoder, Encoder, ProtocolError

EXAMPLE = (2, 1, 28, 28)
"""The shape of the images that a network is traced with; the number of images is left open."""

_MOST_NODES = 3000

_OPERATIONS = frozenset(
    re.findall(
        r"\w+",
        """
        abs adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d add add_ addmm alias amax amin arange argmax
        avg_pool1d avg_pool2d baddbmm batch_norm bitwise_and bitwise_not bmm cat channel_shuffle chunk clamp clamp_
        clamp_max clamp_min clone constant_pad_nd contiguous conv1d conv2d conv_transpose2d cos cumsum detach detach_
        div div_ dropout dropout_ einsum elu elu_ embedding eq exp expand feature_dropout flatten floor full full_like
        gather ge gelu glu group_norm gt hardsigmoid hardswish hardswish_ hardtanh hardtanh_ index index_select
        instance_norm layer_norm le leaky_relu leaky_relu_ lerp lift_fresh_copy linear log log_softmax logical_and
        logical_not logical_or lt masked_fill matmul max max_pool1d max_pool2d maximum mean min minimum mish mish_ mm
        movedim mul mul_ mv narrow ne neg new_zeros ones ones_like outer pad permute pixel_shuffle pow prelu reciprocal
        relu relu6 relu6_ relu_ remainder repeat reshape rms_norm roll round rsqrt rsub scaled_dot_product_attention
        scatter select selu selu_ sigmoid sigmoid_ sign silu silu_ sin slice softmax softplus split split_with_sizes
        sqrt square squeeze stack std sub sub_ sum sym_size t take tanh tanh_ threshold tile to topk transpose tril triu
        unbind unflatten unfold unsqueeze upsample_bilinear2d upsample_nearest2d var view view_as where zeros zeros_like
        _to_copy _softmax _log_softmax _unsafe_view
        """,
    )
)
"""The operations of `torch.ops.aten` that a graph may call: arithmetic and shapes, nothing that opens a file."""

_PYTHON = {
    name: getattr(operator, name) for name in ("getitem", "add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ge")
}
_CHECKS = ("_assert", "sym_constrain")  # what an export adds to say which sizes it is good for
_TORCH_TYPES = (torch.dtype, torch.device, torch.layout, torch.memory_format)


def encode_network(network: nn.Module, encoder: Encoder) -> dict:
    """Return the tree of a network's graph, for images of the shape (n, 1, 28, 28); tensors go to the encoder.

    Raises:
        ValueError: PyTorch cannot export it, or it calls an operation that is not sent.
    """
    batch = torch.export.Dim("batch", min=1, max=100_000)
    try:
        exported = torch.export.export(
            network.cpu().eval(), (torch.zeros(EXAMPLE),), dynamic_shapes=({0: batch},), strict=False
        )
    except Exception as error:  # whatever a learner's network raises, and the exporter's own
        raise ValueError(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}") from error
    signature, state = exported.graph_signature, {}
    parameters, buffers = signature.inputs_to_parameters, signature.inputs_to_buffers
    constants = signature.inputs_to_lifted_tensor_constants
    values = exported.state_dict | exported.constants  # buffers that are not saved are among the constants
    nodes, inputs = [], []
    for node in exported.graph.nodes:
        name = parameters.get(node.name) or buffers.get(node.name) or constants.get(node.name)
        if node.op == "placeholder" and name is None:
            inputs.append(node.name)
        elif node.op == "placeholder":
            state[node.name] = [values[name], node.name in parameters]
        elif node.op == "call_function" and not _is_check(node.target):
            nodes.append(
                [node.name, _target(node.target), _arguments(node.args, encoder), _named(node.kwargs, encoder)]
            )
        elif node.op == "output":
            nodes.append(["output", "output", _arguments(node.args[0], encoder), {}])
        elif node.op != "call_function":
            raise ValueError(f"its graph has a node of the kind {node.op}")
    if len(inputs) != 1:
        raise ValueError(f"it takes {len(inputs)} inputs, not one")
    tensors = {name: [encoder.tree(value), learnt] for name, (value, learnt) in state.items()}
    return {"network": {"class": type(network).__name__, "input": inputs[0], "state": tensors, "nodes": nodes}}


def _is_check(target: Any) -> bool:
    return str(getattr(target, "__name__", target)).split(".")[-2:][0].startswith(_CHECKS)


def _target(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        name, _, overload = target.__name__.partition(".")
        if name in _OPERATIONS:
            return f"aten.{name}.{overload}"
    elif getattr(target, "__name__", "") in _PYTHON:
        return f"python.{target.__name__}"
    raise ValueError(f"it calls {target}, which is not among the operations that are sent")


def _arguments(arguments: Any, encoder: Encoder) -> list:
    return [_argument(each, encoder) for each in arguments]


def _named(arguments: dict, encoder: Encoder) -> dict:
    return {name: _argument(each, encoder) for name, each in arguments.items()}


def _argument(value: Any, encoder: Encoder) -> Any:
    if isinstance(value, torch.fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple | list):
        return {"list": [_argument(each, encoder) for each in value]}
    if isinstance(value, slice):
        return {"slice": [_argument(each, encoder) for each in (value.start, value.stop, value.step)]}
    if isinstance(value, _TORCH_TYPES):
        return {"torch": str(value).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return encoder.tree(value)
    raise ValueError(f"an operation takes a {type(value).__name__}, which is not sent")


class ReceivedNetwork(nn.Module):
    """A network made of a graph that came as data; its parameters and buffers are all the numbers that it uses.

    Args:
        content: what `encode_network` wrote.
        decoder: has the tensors.

    Raises:
        ProtocolError: the graph is malformed or calls an operation that is not allowed.
    """

    def __init__(self, content: dict, decoder: Decoder):
        super().__init__()
        self._input, self._steps = str(content["input"]), []
        self._plain = Decoder([])  # for numbers and texts; the tensors are all in the state
        if len(content["nodes"]) > _MOST_NODES:
            raise ProtocolError(f"a network of {len(content['nodes']):,} operations; at most {_MOST_NODES:,} are read")
        self._names = {}
        for number, (name, (tree, learnt)) in enumerate(content["state"].items()):
            tensor = decoder.value(tree)
            if not isinstance(tensor, torch.Tensor):
                raise ProtocolError("a network whose state is no tensor")
            self._names[f"state{number}"] = str(name)
            if learnt and tensor.is_floating_point():
                self.register_parameter(f"state{number}", nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(f"state{number}", tensor)
        for name, target, arguments, named in content["nodes"]:
            self._steps.append((str(name), _function(target), arguments, dict(named)))

    def forward(self, images: torch.Tensor) -> Any:
        """Carry the graph out, one operation after the other."""
        known = {self._input: images} | {name: getattr(self, own) for own, name in self._names.items()}
        for name, function, arguments, named in self._steps:
            values = [self._read(each, known) for each in arguments]
            if function is None:
                return values[0] if len(values) == 1 else tuple(values)
            known[name] = function(*values, **{key: self._read(each, known) for key, each in named.items()})
        raise ValueError("the network returns nothing")

    def _read(self, tree: Any, known: dict) -> Any:
        if isinstance(tree, dict) and len(tree) == 1:
            ((kind, content),) = tree.items()
            if kind == "node":
                return known[content]
            if kind in ("list", "slice"):
                values = [self._read(each, known) for each in content]
                return values if kind == "list" else slice(*values)
            if kind == "torch":
                return torch.device("cpu") if content.startswith(("cpu", "cuda")) else _torch_type(content)
        return self._plain.value(tree)

    def __repr__(self) -> str:
        return f"a network of {len(self._steps) - 1} operations"


def _function(target: str) -> Any:
    kind, _, rest = str(target).partition(".")
    if kind == "output":
        return None
    if kind == "python" and rest in _PYTHON:
        return _PYTHON[rest]
    name, _, overload = rest.partition(".")
    packet = getattr(torch.ops.aten, name) if kind == "aten" and name in _OPERATIONS else None
    if packet is None or (overload or "default") not in packet.overloads():
        raise ProtocolError(f"a network that calls {str(target)[:60]!r}")
    return getattr(packet, overload or "default")


def _torch_type(name: str) -> Any:
    found = getattr(torch, name, None)
    if not isinstance(found, _TORCH_TYPES):
        raise ProtocolError(f"a network that names torch.{str(name)[:40]}")
    return found


def decode_network(content: dict, decoder: Decoder) -> ReceivedNetwork:
    """Return the network of a tree; see `ReceivedNetwork`.

    Raises:
        ProtocolError: the graph is malformed or calls an operation that is not allowed.
    """
    try:
        network = ReceivedNetwork(content, decoder)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ProtocolError(f"a network that cannot be read: {type(error).__name__}: {error}") from error
    kind = str(content.get("class", ""))
    if kind.isidentifier():
        network.__class__ = type(kind[:80], (ReceivedNetwork,), {})
    return network.eval()
