"""Assembles the parts of one site, runs them, stops them in order."""

from ifengine.engine.running import run

__all__ = ["run"]
