"""Keeps gRPC from writing a line to stderr at every fork. A DataLoader forks often.

This client does nothing in a forked child, so gRPC need not prepare for forks. A variable that is set already is kept.
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
