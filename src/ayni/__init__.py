"""Ayni: supercomputers, people and results of several countries in one pool, accounted for."""

__version__ = "0.1.0"
