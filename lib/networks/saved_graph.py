"""Which SavedModels may be loaded: those whose operations compute, and do nothing else.

A list of what is forbidden is never complete, so this is one of what is allowed, for every operation that loading or calling
the file can reach. What saves and restores a TensorFlow program's variables stands in each export, in functions of its own,
which TensorFlow 2 does not call: it is allowed there, and only there.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

STRUCTURE: Final = """
    Assert Case Const DisableCopyOnRead EmptyTensorList EnsureShape Identity IdentityN If NoOp PartitionedCall Placeholder
    PlaceholderWithDefault PreventGradient StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile StopGradient
    TensorListFromTensor TensorListGetItem TensorListLength TensorListReserve TensorListSetItem TensorListStack While
    AssignVariableOp ReadVariableOp VarHandleOp VarIsInitializedOp"""
SHAPES: Final = """
    BatchToSpaceND BroadcastArgs BroadcastGradientArgs BroadcastTo Concat ConcatOffset ConcatV2 DepthToSpace ExpandDims Fill
    Gather GatherNd GatherV2 InvertPermutation LinSpace MirrorPad OneHot OnesLike Pack Pad PadV2 Range Rank Reshape ReverseV2
    Roll ScatterNd Shape ShapeN Size Slice SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice Tile Transpose
    Unpack Where ZerosLike"""
ARITHMETIC: Final = """
    Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Bitcast Cast Ceil ClipByValue Cos Cosh Cumprod Cumsum Div
    DivNoNan Einsum Elu EluGrad Equal Erf Erfc Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Inv IsFinite IsInf
    IsNan LeakyRelu LeakyReluGrad Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr LogSoftmax Maximum Minimum Mod Mul
    MulNoNan Neg NotEqual Pow RealDiv Reciprocal Relu Relu6 Relu6Grad ReluGrad Rint Round Rsqrt RsqrtGrad Select SelectV2
    Selu SeluGrad Sigmoid SigmoidGrad Sign Sin Sinh Softmax Softplus SoftplusGrad Softsign SoftsignGrad Sqrt SqrtGrad Square
    SquaredDifference Sub Tan Tanh TanhGrad TruncateDiv Xdivy Xlogy"""
NETWORKS: Final = """
    All Any ArgMax ArgMin AvgPool AvgPool3D AvgPoolGrad BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd BiasAddGrad Conv2D
    Conv2DBackpropFilter Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 DepthwiseConv2dNative
    DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput FakeQuantWithMinMaxVars FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 FusedBatchNormGradV3 L2Loss LRN MatMul Max MaxPool MaxPoolGrad MaxPoolV2 Mean Min Prod
    ResizeBicubic ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor ResizeNearestNeighborGrad Sum TopKV2"""
ALLOWED: Final = frozenset(f"{STRUCTURE} {SHAPES} {ARITHMETIC} {NETWORKS}".split())
SAVING: Final = frozenset(("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch",
                           "StringJoin"))
"""What a function may have, besides, that only the saver of the file calls."""


def refused(folder: Path) -> list[str]:
    """Names of the operations for which a SavedModel must not be loaded, in order; nothing of it runs here.

    Raises
    ------
    OSError : the file cannot be read
    ValueError : it is no SavedModel, or none of TensorFlow 2: an older one runs its saver while it is loaded
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file, parsed = folder / "saved_model.pb", saved_model_pb2.SavedModel()
    try:
        parsed.ParseFromString(file.read_bytes())
    except OSError:
        raise
    except Exception as error:  # protobuf's DecodeError, which has no place of its own in every release
        raise ValueError(str(error)) from error
    if len(parsed.meta_graphs) != 1 or not parsed.meta_graphs[0].HasField("object_graph_def"):
        raise ValueError("it was not written by TensorFlow 2")
    graph = parsed.meta_graphs[0]
    functions = {each.signature.name: each.node_def for each in graph.graph_def.library.function}
    saver = {name.split(":")[0] for name in (graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name)}
    nodes = [node for node in graph.graph_def.node if node.name not in saver]
    calls = [node for node in graph.graph_def.node if node.name in saver]
    saving = _reached(_called(calls), functions)
    others = _reached([*_called(nodes), *graph.object_graph_def.concrete_functions, *(functions.keys() - saving)], functions)
    found = {node.op for node in [*nodes, *calls]} - ALLOWED - functions.keys()
    for name, body in functions.items():
        found |= {node.op for node in body} - functions.keys() - (ALLOWED if name in others else ALLOWED | SAVING)
    return sorted(found)


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    """Functions that operations name: as an attribute, or as themselves."""
    for node in nodes:
        yield node.op
        for value in node.attr.values():
            yield value.func.name
            yield from (each.name for each in value.list.func)


def _reached(names: Iterable[str], functions: Mapping[str, Iterable[Any]]) -> set[str]:
    """Of ``functions``, those that are called from ``names`` on."""
    found: set[str] = set()
    left = [name for name in names if name in functions]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += [each for each in _called(functions[name]) if each in functions]
    return found
