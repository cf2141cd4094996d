"""A fake server for an editor under test, as a process: `python -m support.serve_editor SOCKET`, tests/ on the path.

What it says of a function depends on the function's name: the one program of `hopeless` fails, `endless` never ends, of
any other the first program fails and the second passes. A hole is filled with `return n // 2`. It prints `ready`, then
`cancelled` for each call that its client ends, and lives until its standard input ends.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from support.editor import played, report
from support.fake_server import Event, FakeServer
from thresher.v1 import info_service_pb2


class _Server(FakeServer):
    def __init__(self, socket: Path) -> None:
        super().__init__(socket)
        self.events = self._events

    def _events(self) -> list[Event]:
        problem = self.specs[-1].problem
        name = problem.entry_point
        self.hang = name == "endless"
        self.report = report(2, 2)
        if problem.HasField("infill"):
            return played((f"{problem.infill.prefix}return n // 2{problem.infill.suffix}", report(1, 1)))
        failed = f"not so: _thresher_examples('{name}(-1)\\n') == '-2\\n' (got '1\\n')"
        programs = [(f"def {name}(n):\n    return n * n\n", report(1, 2, failed))]
        if name != "hopeless":
            programs.append((f"def {name}(n):\n    return n << 1\n", report(2, 2)))
        return played(*programs)

    def ListModels(self, request: Any, context: Any) -> Any:
        model = info_service_pb2.Model(name="models/fake", chat=True, infill=True)
        return info_service_pb2.ListModelsResponse(models=[model])

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        reply = super().GetServerInfo(request, context)
        reply.default_model = "models/fake"
        return reply


def _tell(cancelled: threading.Event) -> None:
    while cancelled.wait():
        cancelled.clear()
        print("cancelled", flush=True)


def main() -> None:
    """Serve until standard input ends."""
    with _Server(Path(sys.argv[1])) as server:
        threading.Thread(target=_tell, args=(server.cancelled,), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
