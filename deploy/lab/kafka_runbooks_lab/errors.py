"""What can go wrong in the lab, by what the person at the terminal can do about it."""


class LabError(Exception):
    """The lab could not do what was asked; the message says why and where to look. Exit code 1."""


class BadInput(LabError):
    """The command names something that does not exist or cannot be. Nothing was touched. Exit code 2."""


class Unsupported(LabError):
    """This host lacks something that the lab needs; the message names it. Nothing was changed. Exit code 2."""
