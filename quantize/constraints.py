"""What can be read from ONNX and TFLite, and under which constraints: taken from the code that reads them."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
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
    from quantize import onnx_operators, onnx_shapes

    return _readable(onnx_operators.HANDLERS, onnx_operators, onnx_shapes)


def tflite_operators() -> list[Readable]:
    """Return the TFLite operators that an int8 model may have."""
    from quantize import tflite_operators

    return _readable(tflite_operators.HANDLERS, tflite_operators)


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
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "require":
            text = node.args[-1]
            yield getattr(module, text.id) if isinstance(text, ast.Name) else ast.literal_eval(text)
        else:
            yield from _required(functions, called, seen)
