"""The work of `thresher bench decode` through other people's engines, in turns with ours.

    python -m benchmarks.peers --setup                      # once: fetches and compiles them (about 16 GB, 25 minutes)
    python -m benchmarks.peers --out benchmarks/results/cpu/peers.json
    python -m benchmarks.peers.table                        # writes the tables of docs/benchmarks.md

Every peer lives in an environment of its own under --folder. One that cannot be had is reported as missing, with the
reason. See race.py for what makes it fair and lanes.py for the settings.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.lane import Lane
from benchmarks.peers.lanes import our_lanes, peer_lanes
from benchmarks.peers.race import Race
from benchmarks.peers.setup import PEERS, Home, SetupFailed, default_folder
from benchmarks.record import provenance, write
from engine.models.catalogue import CATALOGUE, fetch


def race_model(home: Home, model: str, peers: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One model through all lanes that can be had and are not to be skipped."""
    ours = our_lanes(home, model, options.arithmetic)
    lanes: list[Lane] = [lane for lane, _ in ours]
    unmade: dict[str, str] = {}
    for peer in peers:
        try:
            found = peer_lanes(home, peer, fetch(model), max(options.k))
            lanes += [lane for lane in found if lane.name not in options.skip]
        except SetupFailed as error:
            unmade[peer] = f"{model}: {error}"
            say(f"{peer}: {error}")
    race = Race(lanes, say)
    try:
        race.start()
        prompt: list[int] = ours[0][1].greeting["prompt"]
        race.compare(prompt)
        for k in options.k:
            race.run(prompt, k, options.new_tokens, options.rounds)
    finally:
        race.stop()
    result = race.result()
    return {"prompt_tokens": len(prompt), **result, "failed": unmade | result["failed"]}


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of the command line, and of `thresher bench peers`; without arguments those of this process."""
    said = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", action="store_true", help="make the peers' environments and do nothing else")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where the peers live (%(default)s)")
    parser.add_argument("--peers", type=_names, default=list(PEERS), help=f"of {','.join(PEERS)}, by commas")
    parser.add_argument("--skip", type=_names, default=[], help="lanes to leave out, such as 'llama-server Q4_0'")
    parser.add_argument("--models", type=_names, default=list(CATALOGUE), help="names or GGUF files, by commas")
    parser.add_argument("--arithmetic", type=_names, default=["auto"], help="ours, by commas (auto)")
    parser.add_argument("--k", type=_counts, default=[1, 16, 64], help="samples at once, by commas (1,16,64)")
    parser.add_argument("--new-tokens", type=int, default=128, help="tokens of each sample (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each lane (%(default)s)")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    options = parser.parse_args(said)
    if unknown := [peer for peer in options.peers if peer not in PEERS]:
        parser.error(f"--peers: {', '.join(unknown)}: there are {', '.join(PEERS)}")
    # Processes that are stopped would outlive this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A script in another environment is started from elsewhere.
    home = Home(options.folder.resolve())
    if options.setup:
        for peer in options.peers:
            home.set_up(peer, say)
    missing = {peer: why for peer in options.peers if (why := home.why_missing(peer)) is not None}
    for peer, why in missing.items():
        say(f"{peer} is missing: {why}")
    if options.setup:
        raise SystemExit(1 if missing else 0)
    present = [peer for peer in options.peers if peer not in missing]
    made_by = provenance(["python", "-m", "benchmarks.peers", *said])
    before: dict[str, Any] = (
        json.loads(options.out.read_text())["models"] if options.out and options.out.exists() else {}
    )
    result: dict[str, Any] = {
        "experiment": "peers",
        "peers": {peer: home.made(peer) for peer in present},
        "missing": missing,
        "skipped": options.skip,
        "new_tokens": options.new_tokens,
        "rounds": options.rounds,
        # Other models of an earlier run stay, and all in their order.
        "models": before,
    }
    for model in options.models:
        say(f"{model}:")
        result["models"][model] = {"provenance": made_by, **race_model(home, model, present, options)}
        if options.out is not None:
            write(options.out, result)
    print(json.dumps(result, indent=2))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _counts(text: str) -> list[int]:
    counts = [int(name) for name in _names(text)]
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers of samples, such as 1,16,64")
    return counts


if __name__ == "__main__":
    main()
