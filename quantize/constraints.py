"""What can be read from ONNX and TFLite, and under which constraints: taken from the code that reads them."""

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Readable:
    """One operator of a file format.

    Attributes:
        name: As the format calls it.
        constraints: What has to hold, in the words of the error that names it otherwise.
    """

    name: str
    constraints: tuple[str, ...]


def onnx_operators() -> list[Readable]:
    """Return the ONNX operators that a float model may have."""
    from quantize import onnx_operators, onnx_shapes, onnx_windows

    common = Readable("every operator", tuple(_common()))
    return [common, *_readable(onnx_operators.HANDLERS, onnx_operators, onnx_shapes, onnx_windows)]


def _common() -> Iterator[str]:
    """Yield what the importer requires of a model whatever operator is read, and what attention pooled."""
    from quantize import attention, importer, onnx_operators

    for module in (importer, attention):
        yield from dict.fromkeys(_texts(ast.walk(ast.parse(inspect.getsource(module))), module))
    reading = ast.parse(inspect.getsource(onnx_operators.read_node))
    yield from _texts(ast.walk(reading), onnx_operators)


def tflite_operators() -> list[Readable]:
    """Return the TFLite operators that an int8 model may have."""
    from quantize import tflite_operators, tflite_source

    return _readable(tflite_operators.HANDLERS, tflite_operators, tflite_source)


Functions = Mapping[str, tuple[ast.FunctionDef, ModuleType]]


def _readable(handlers: Mapping[str, Callable[..., Any]], *modules: ModuleType) -> list[Readable]:
    functions = {
        node.name: (node, module)
        for module in modules
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.FunctionDef)
    }
    return [
        Readable(name, tuple(dict.fromkeys(_required(functions, handler.__name__, set()))))
        for name, handler in sorted(handlers.items())
    ]


def _required(functions: Functions, name: str, seen: set[str]) -> Iterator[str]:
    """Yield the last argument of every `require` that a function, or what it calls there, makes."""
    if name not in functions or name in seen:
        return
    seen.add(name)
    function, module = functions[name]
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _called(node) not in REFUSING:
            yield from _required(functions, _called(node), seen)
        else:
            yield from _texts([node], module)


REFUSING = ("require", "_unsupported")
"""Functions whose last argument says what has to hold."""


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _texts(nodes: Iterable[ast.AST], module: ModuleType) -> Iterator[str]:
    """Yield what the calls among the nodes say has to hold; `...` stands for what is filled in."""
    for node in nodes:
        if not isinstance(node, ast.Call) or _called(node) not in REFUSING:
            continue
        text = node.args[-1]
        if isinstance(text, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "..." for part in text.values
            )
        elif isinstance(text, ast.Constant):
            yield str(text.value)
        elif isinstance(text, ast.Name) and isinstance(found := getattr(module, text.id, None), str):
            yield found
