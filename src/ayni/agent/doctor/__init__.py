"""`ayni site doctor`: everything that an operator can get wrong, each with its remedy.

`base` says what a check is and runs them, each other file holds the checks of one subject.
"""

from ayni.agent.doctor.base import Check, Level, examine

__all__ = ["Check", "Level", "examine"]
