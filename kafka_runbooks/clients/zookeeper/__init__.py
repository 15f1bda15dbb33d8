"""A ZooKeeper ensemble: each member by four-letter words on a socket of its own, znodes by a session (kazoo)."""
