"""`python -m executor --fd N`: the executor's process. Started by executor.client, not by hand."""

import argparse
import asyncio
import logging
import sys

from executor.server import main


def run() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m executor", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the connected socket to the client")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="executor: %(levelname)s %(message)s")
    return asyncio.run(main(arguments.fd))


if __name__ == "__main__":
    sys.exit(run())
