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
    """Return the ONNX operators that a float student may have."""
    from quantize import onnx_operators

    return _readable(onnx_operators.HANDLERS, onnx_operators)


def tflite_operators() -> list[Readable]:
    """Return the TFLite operators that an int8 model may have."""
    from quantize import tflite_operators

    return _readable(tflite_operators.HANDLERS, tflite_operators)


def _readable(handlers: Mapping[str, Callable[..., Any]], module: ModuleType) -> list[Readable]:
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.FunctionDef)
    }
    return [
        Readable(name, tuple(dict.fromkeys(_required(functions, module, handler.__name__, set()))))
        for name, handler in sorted(handlers.items())
    ]


def _required(
    functions: Mapping[str, ast.FunctionDef], module: ModuleType, name: str, seen: set[str]
) -> Iterator[str]:
    """Yield the last argument of every `require` that a function, or what it calls there, makes."""
    if name not in functions or name in seen:
        return
    seen.add(name)
    for node in ast.walk(functions[name]):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "require":
            text = node.args[-1]
            yield getattr(module, text.id) if isinstance(text, ast.Name) else ast.literal_eval(text)
        else:
            yield from _required(functions, module, called, seen)
