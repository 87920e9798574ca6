"""gRPC without a line on stderr at every fork, which a DataLoader makes many of.

Nothing of this client runs in a forked child, so gRPC need not prepare for one. Whoever sets the variable decides.
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
