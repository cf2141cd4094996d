"""Thresher's public packages: `thresher.v1` (the gRPC messages and stubs) and `thresher.client`."""

import os

# gRPC reads this when it is first imported. Its fork handlers are of no use to us, and they get in the way of every
# process that is started by fork while calls are live (uvloop does that).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
