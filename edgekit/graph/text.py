"""The graph as text: one line an operator, for reading and for diffs."""

from edgekit.graph.types import TIME, Graph, Op, Tensor


def to_text(graph: Graph) -> str:
    """Return one line for each operator: output, kind, inputs with types, attributes.

    Example:
        >>> tensors = {n: Tensor(n, (TIME, 4, 1), "int8") for n in ("a", "b")}
        >>> op = Op("flatten", "tokens", ("a",), ("b",))
        >>> print(to_text(Graph("g", ("a",), ("b",), tensors, {}, (op,))))
        graph g(a: int8[T,4,1]) -> (b)
          tokens: int8[T,4,1] = flatten(a)
    """
    inputs = ", ".join(f"{name}: {_type(graph.tensors[name])}" for name in graph.inputs)
    header = f"graph {graph.name}({inputs}) -> ({', '.join(graph.outputs)})"
    return "\n".join([header, *(_line(graph, op) for op in graph.ops)])


def _type(tensor: Tensor) -> str:
    sizes = ",".join("T" if size == TIME else str(size) for size in tensor.shape)
    return f"{tensor.dtype}[{sizes}]"


def _line(graph: Graph, op: Op) -> str:
    inputs = [f"{n}: {_type(graph.tensors[n])}" if n in graph.constants else n for n in op.inputs]
    attributes = [f"{name}={value}" for name, value in sorted(op.attributes.items())]
    return f"  {op.name}: {_type(graph.output(op))} = {op.kind}({', '.join(inputs + attributes)})"
