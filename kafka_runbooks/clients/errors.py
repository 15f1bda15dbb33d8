"""What can go wrong out there, by what to do about it.

ClientError
 ├── Unreachable     the other side didn't answer: try again
 ├── Refused         the other side answered no (forbidden, invalid): trying again doesn't help
 ├── UnknownCluster  no cluster of that name is configured
 └── Conflict        the thing changed since we looked: look again, decide again
"""


class ClientError(Exception):
    """Anything that the outside world did to us; the library's error is its cause."""


class Unreachable(ClientError):
    """No answer, a timeout, or a passing fault of the other side."""


class Refused(ClientError):
    """A clear no: missing rights or an invalid request."""


class Conflict(ClientError):
    """What we wanted to change has another version or uid by now."""


class UnknownCluster(ClientError):
    """The name is not in the clusters file; the message lists those that are."""
