"""`thresher exec`: runs programs against tests in the server's sandbox; draws nothing."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from thresher.client import Client, ProblemError, ThresherError, program, to_plain
from thresher.client.progress import verdict_words
from thresher.v1 import execution_service_pb2, verdict_pb2

from engine.cli._batch import execute_many
from engine.cli._connection import Address, TlsCa, TlsCertificate, TlsKey, TokenFile, UseTls, read_tls, read_token
from engine.cli._document import LANGUAGES, add_tests, language_of, override, read_document, read_text
from engine.cli._output import (
    EXIT_FAILED,
    EXIT_GOOD,
    EXIT_INTERRUPTED,
    EXIT_NOT_SOLVED,
    call_error,
    print_json,
    usage_error,
)
from engine.cli._report import lowered_line, test_table


def execute(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="PROGRAM...",
            help="The program, or - for standard input. Several run at a time, and each is told of as it ends; --json "
            "has them in the order given.",
        ),
    ],
    tests: Annotated[
        Path | None,
        typer.Option(
            help="Problem file whose tests (hidden ones too), setup code, entry point, limits and language are used, "
            "or a .py file with asserts."
        ),
    ] = None,
    test: Annotated[list[str] | None, typer.Option(help="A test, e.g. 'assert f(1) == 2'. May be repeated.")] = None,
    entry_point: Annotated[str | None, typer.Option(help="Name of the function that the tests call.")] = None,
    language: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(LANGUAGES)}. Default: by the file's ending, else as the problem file says."),
    ] = None,
    run_all: Annotated[bool, typer.Option("--all", help="Do not stop at the first test that fails.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the call fails.")] = None,
    address: Address = None,
    token_file: TokenFile = None,
    tls: UseTls = False,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Run programs against tests in the sandbox and say what each came to.

    The column "evidence" says where a result was compared:
    "stdout" and "values" outside the sandbox, "judge" in a second one,
    "in process" where the program could have forged it.

    Exit code: 0 all passed, 1 not all passed, 2 wrong use, 3 server or sandbox failure, 130 interrupted.
    """
    try:
        document = {} if tests is None else read_document(tests)
        add_tests(document, test or [])
        override(document, "", entry_point=entry_point)
        requests: list[execution_service_pb2.Program] = []
        for source in sources:
            own = {**document, "language": language or language_of(source, document)}
            requests.append(program(read_text(source), own, run_all=run_all))
        token, secured = read_token(token_file), read_tls(tls, tls_ca, tls_certificate, tls_key)
    except ProblemError as error:
        raise usage_error(str(error), as_json=as_json) from error
    try:
        with Client(address, token=token, tls=secured) as client:
            if len(requests) > 1:
                raise execute_many(client, sources, requests, timeout=timeout, as_json=as_json)
            report = client.execute(requests[0], timeout=timeout)
    except ThresherError as error:
        raise call_error(error, as_json=as_json) from error
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json({"passed": report.verdict == verdict_pb2.VERDICT_PASSED, "report": to_plain(report)})
    else:
        _print_report(report)
    if report.verdict == verdict_pb2.VERDICT_SANDBOX_FAILURE:
        raise typer.Exit(EXIT_FAILED)
    raise typer.Exit(EXIT_GOOD if report.verdict == verdict_pb2.VERDICT_PASSED else EXIT_NOT_SOLVED)


def _print_report(report: verdict_pb2.ExecutionReport) -> None:
    console = Console()
    passed = report.verdict == verdict_pb2.VERDICT_PASSED
    headline = f"{verdict_words(report.verdict)}: {report.tests_passed} of {report.tests_total} tests passed"
    console.print(Text(headline, style="bold green" if passed else "bold red"))
    if report.results:
        console.print(test_table(report))
    for name, data in (("standard output", report.stdout), ("standard error", report.stderr)):
        if data and not passed:
            console.print(Text(f"{name}:", style="dim"))
            console.print(Text(data.decode("utf-8", errors="replace").rstrip("\n")))
    if lowered := lowered_line(report.lowered_limits):
        console.print(Text(lowered, style="yellow"), soft_wrap=True)
    if report.weaknesses:
        console.print(Text(f"this sandbox does not give: {', '.join(report.weaknesses)}", style="dim"))
