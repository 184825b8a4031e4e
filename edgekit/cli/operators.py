"""`edgekit ops`: the operators, and the constraints of each."""

from collections.abc import Iterable, Iterator

import click

from edgekit.cli import options

INTRODUCTION = """# Operators

```
edgekit ops
edgekit ops --json
```

What a model may be made of. Whatever breaks a constraint is refused with exit code 6, naming the operator,
the layer and the constraint. This page is what the first of these commands prints."""
SECTIONS = {
    "ONNX": "Read from a float model (`edgekit quantize STUDENT`, `edgekit quantize FILE.onnx`).",
    "TFLite": "Read from a fully quantized model (`edgekit quantize FILE.tflite`), integer for integer.",
}
GRAPH = """Defined in `edgekit/graph/*_ops.py`; C for a device exists for the operators of wav2small."""


@click.command()
@options.json_option
def ops(as_json: bool) -> None:
    """List the operators and the constraints of each.

    Those of ONNX and TFLite files that can be read, and those of the integer graph.
    """
    from edgekit.graph.catalogue import operators
    from quantize.constraints import onnx_operators, tflite_operators

    read = {"ONNX": onnx_operators(), "TFLite": tflite_operators()}
    if as_json:
        formats = {name: {op.name: op.constraints for op in found} for name, found in read.items()}
        graph = {op.kind: {"computes": op.summary, "constraints": op.constraints} for op in operators()}
        options.print_json({**formats, "graph": graph})
        return
    lines = [INTRODUCTION]
    for name, found in read.items():
        lines += ["", f"## {name}", "", SECTIONS[name], ""]
        lines += _entries((op.name, "", op.constraints) for op in found)
    lines += ["", "## The integer graph", "", GRAPH, ""]
    lines += _entries((op.kind, op.summary, op.constraints) for op in operators())
    click.echo("\n".join(lines))


def _entries(found: Iterable[tuple[str, str, tuple[str, ...]]]) -> Iterator[str]:
    for name, summary, constraints in found:
        yield f"- **{name}**" + (f": {summary}" if summary else "")
        for constraint in constraints:
            yield f"  - {constraint.removesuffix('.')}"
