"""Errors of the outside world, by what to do about them.

ClientError
 ├── Unreachable     no answer: retry
 ├── Refused         rejected (forbidden, invalid): must not be retried
 ├── UnknownCluster  no cluster of that name is configured
 └── Conflict        the object changed since it was read: read it again and decide again
"""


class ClientError(Exception):
    """Base of these errors; the library's error is its cause."""


class Unreachable(ClientError):
    """No answer, a timeout, or a temporary fault of the other side."""


class Refused(ClientError):
    """A definitive rejection: missing rights or an invalid request."""


class Conflict(ClientError):
    """The object to change has another version or uid than expected."""


class UnknownCluster(ClientError):
    """The name is not in the clusters file; the message lists the names that are."""
