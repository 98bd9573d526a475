"""Claims: run them, judge them, check the file they are kept in, and render the page and the numbers that the book shows."""

from .check import check
from .judge import Judgment, judge
from .render import render
from .run import run
from .store import load, world_hash

__all__ = ["Judgment", "check", "judge", "load", "render", "run", "world_hash"]
