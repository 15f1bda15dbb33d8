"""Errors of the lab, by what the user can do about them."""


class LabError(Exception):
    """The lab could not carry out the command; the message has the reason and the place of logs. Exit code 1."""


class BadInput(LabError):
    """The command names something that doesn't exist or isn't possible. Nothing was changed. Exit code 2."""


class Unsupported(LabError):
    """This host lacks something that the lab needs; the message names it. Nothing was changed. Exit code 2."""
