"""The command line: parse, make one call, print, exit with the documented code."""

from resnest_edge.cli.entry import main

__all__ = ["main"]
