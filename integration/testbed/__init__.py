"""A testbed of real Docker hosts, BuildKit nodes and faults on one Debian machine.

Everything is made from Debian's packages, runs as root, contacts loopback and private namespaces only, and is
gone after `close()`. Start reading at `hosts.py` (a Docker host) and `builders.py` (a user's buildx).
"""
