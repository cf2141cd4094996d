"""Thresher's public packages: `thresher.v1` (the gRPC messages and stubs) and `thresher.client`."""
