"""The front: gRPC services, auth, health and metrics. Domain and proto meet here and nowhere else."""

import os

# uvloop starts children by fork, and gRPC's fork handlers then complain or block. gRPC reads this at its import, so it
# must be set before any module of this package imports grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
