"""Writes docs/api.md, the reference of the gRPC interface, from proto/thresher/v1, or checks it (`--check`)."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
FIRST = ("synthesis_service", "execution_service", "info_service")
"""Files of services, in the order of the page; the others follow, with what these need."""
OTHERS = ("problem", "solve", "refine", "verdict")
PACKAGE = "thresher.v1"
HEAD = """# The gRPC interface

Package `thresher.v1`, written from [proto/thresher/v1](../proto/thresher/v1) by `python scripts/api_page.py`. A client
for Python is in the box ([client.md](client.md)), one for [TypeScript](../clients/typescript/README.md) is an example;
for any other language generate one from the files.

- Where a field says `optional`, absence and zero differ: absence is the server's or the model's default.
- A field that a server does not support is refused by name; none is ignored. What a server can do stands in
  `features` of [GetServerInfoResponse](#getserverinforesponse).
- Errors carry `google.rpc.ErrorInfo` (its `reason` is an UPPER_SNAKE_CASE word) and, where they apply, `BadRequest`,
  `RetryInfo` and `ResourceInfo`. "No program passed" is no error: the stream ends with OK and a [Summary](#summary).
- A server on TCP wants the metadata `authorization: Bearer TOKEN`. The metadata `thresher-client` names whom the server
  divides its time by ([scheduling.md](scheduling.md)).
- Cancelling a call, a deadline and a client that is gone end the solve at its next step, programs that run included.
  Such a call has no [Summary](#summary); the server's log says in its line `solve_ended` what became of the solve:
  `"outcome": "cancelled"`, or `"deadline"`.
- Some events of a solve come only if [EventOptions](#eventoptions) ask for them, and [SolveEvent](#solveevent) says
  which; the others come always.
- `grpc.health.v1` and reflection are served as well.
"""

Comments = dict[tuple[int, ...], str]
_SCALARS = {
    number: name.removeprefix("TYPE_").lower() for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()
}


def descriptors() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Our files, by the stem of their names, with their comments."""
    protos = sorted((ROOT / "proto" / "thresher" / "v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={output}", *map(str, protos)], check=True, cwd=ROOT)
        found = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())
    return {Path(file.name).stem: file for file in found.file}


def page(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> str:
    """The text of the page. Raises SystemExit for a file that it has no place for."""
    if set(files) != {*FIRST, *OTHERS}:
        raise SystemExit(f"api_page: place these files in FIRST or OTHERS: {sorted({*files} ^ {*FIRST, *OTHERS})}")
    parts = [HEAD]
    for stem in (*FIRST, *OTHERS):
        parts += _file(files[stem])
    return "\n".join(parts)


def _file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    comments: Comments = {
        tuple(place.path): " ".join(f"{place.leading_comments} {place.trailing_comments}".split())
        for place in file.source_code_info.location
    }
    for number, service in enumerate(file.service):
        yield f"## {service.name}\n\n{comments[6, number]}\n"
        rows = ((m, comments.get((6, number, 2, place), "")) for place, m in enumerate(service.method))
        yield _table(
            ("call", "request", "response", ""),
            ((f"`{m.name}`", _request(m), _response(m), text) for m, text in rows),
        )
    for number, message in enumerate(file.message_type):
        yield from _message(message, (4, number), comments)
    for number, enum in enumerate(file.enum_type):
        yield from _enum(enum, (5, number), comments)


def _message(message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"### {message.name}\n\n{comments.get(path, '')}\n"
    rows: list[tuple[str, str, str]] = []
    for number, field in enumerate(message.field):
        notes: list[str] = []
        if field.HasField("oneof_index") and not field.proto3_optional:
            notes.append(f"(one of `{message.oneof_decl[field.oneof_index].name}`)")
            first = message.field[number - 1] if number else None
            if first is None or not first.HasField("oneof_index") or first.oneof_index != field.oneof_index:
                notes.append(comments.get((*path, 8, field.oneof_index), ""))
        notes.append(comments.get((*path, 2, number), ""))
        rows.append((f"`{field.name}`", _type(field), " ".join(filter(None, notes))))
    if rows:
        yield _table(("field", "type", ""), rows)
    for number, nested in enumerate(message.nested_type):
        yield from _message(nested, (*path, 3, number), comments)
    for number, enum in enumerate(message.enum_type):
        yield from _enum(enum, (*path, 4, number), comments)


def _enum(enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    yield f"### {enum.name}\n\n{comments.get(path, '')}\n"
    rows = ((f"`{value.name}`", comments.get((*path, 2, number), "")) for number, value in enumerate(enum.value))
    yield _table(("value", ""), rows)


def _request(method: descriptor_pb2.MethodDescriptorProto) -> str:
    return f"{'stream of ' if method.client_streaming else ''}{_named(method.input_type)}"


def _response(method: descriptor_pb2.MethodDescriptorProto) -> str:
    return f"{'stream of ' if method.server_streaming else ''}{_named(method.output_type)}"


def _type(field: descriptor_pb2.FieldDescriptorProto) -> str:
    kind = _named(field.type_name) if field.type_name else _SCALARS[field.type]
    if field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {kind}"
    return f"optional {kind}" if field.proto3_optional else kind


def _named(name: str) -> str:
    """A link to one of ours; others by their full name."""
    package, _, short = name.removeprefix(".").rpartition(".")
    return f"[{short}](#{short.lower()})" if package == PACKAGE else f"`{name.removeprefix('.')}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


def main() -> int:
    """Writes the page, or compares it and returns 1 where it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is out of date")
    check: bool = parser.parse_args().check
    text = page(descriptors())
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/api.md is out of date: run scripts/api_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
