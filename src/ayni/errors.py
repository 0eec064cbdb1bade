"""The one exception that a command shows to a person as a single line, with exit code 2."""


class UserError(Exception):
    """A mistake that the person can mend: the message names what is wrong and the remedy."""
