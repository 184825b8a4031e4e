"""The command line: parse, call one function, print. The only code that imports click."""

from edgekit.cli.app import main

__all__ = ["main"]
