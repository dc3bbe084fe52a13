"""The command line: parsing and wiring only."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from bxhealth import __version__, policy
from bxhealth.errors import StoreError
from bxhealth.exporter.command import serve
from bxhealth.model import Builder, BuilderReport, Report, Verdict
from bxhealth.options import Options, Threshold
from bxhealth.parameters import URL, Command, Parsed, builders_argument, check_options, option
from bxhealth.store import Store

if TYPE_CHECKING:
    from bxhealth.checker import Observer

_FORMATS = ("table", "json", "prometheus")
_LIST_FORMATS = ("table", "json")
_STDOUT = "-"


def _parse_report(text: str) -> tuple[str, str]:
    form, separator, path = text.partition("=")
    if form not in _FORMATS or not separator or not path:
        raise ValueError(f"{text!r} is not FORMAT=PATH with a format of {', '.join(_FORMATS)}")
    return form, path


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", prog_name="bxhealth", message="%(prog)s %(version)s")
def cli() -> None:
    """Tell the truth about multi-node buildx builders: which node cannot build, and why."""


@cli.command(cls=Command)
@builders_argument
@option("--all", "every", is_flag=True, help="Check every builder that buildx knows.")
@option("--node", "only", metavar="NODE", multiple=True, help="Check only this node; repeatable.")
@option("--exclude", metavar="NODE", multiple=True, help="Check all nodes but this one; repeatable.")
@check_options
@option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="What the report on stdout looks like.",
)
@option(
    "--report",
    "further",
    metavar="FORMAT=PATH",
    type=Parsed("report", _parse_report),
    multiple=True,
    help="Write a report to PATH as well, - for stdout; repeatable.",
)
@option("--push", metavar="URL", type=URL, help="Send the metrics to this Prometheus Pushgateway.")
@option("--ping", metavar="URL", type=URL, help="Call this dead man's switch: URL, or URL/fail unless all is well.")
@option("-v", "--verbose", count=True, help="Explain every step on stderr, and show every check.")
@option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status says it all.")
def check(
    builders: tuple[str, ...],
    every: bool,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
    form: str,
    further: tuple[tuple[str, str], ...],
    push: str | None,
    ping: str | None,
    verbose: int,
    quiet: bool,
) -> int:
    """Check every node of BUILDER now, and exit non-zero if any cannot build.

    Without BUILDER: buildx's own choice, which is $BUILDX_BUILDER, the current builder, or the current Docker
    context. Nodes that are not running are started first.

    \b
    Exit status:
      0    healthy, or degraded within the policy
      1    unhealthy
      2    wrong usage
      3    could not check: no such builder, no Docker CLI where one is needed, an unreadable store
      130  interrupted
    """  # noqa: D301 - click keeps the lines of a paragraph that begins with \b
    from bxhealth import logs

    with _failure_pinged(ping), _silent(quiet):
        if every and builders:
            raise click.UsageError("--all and the names of builders exclude each other")
        if verbose and quiet:
            raise click.UsageError("-v and -q exclude each other")
        logs.show(verbose)
        if push or "prometheus" in (form, *(name for name, _ in further)):
            # the figures of disk and cache are among the metrics, threshold or not
            options = replace(options, min_free_disk=options.min_free_disk or Threshold())
        report, interrupted = _check(builders, every, only, exclude, options, quiet, verbose)
        if not quiet:
            _write(report, form, _STDOUT, bool(verbose))
            _warn(report)
        # after stdout, since a file that cannot be written must not cost the answers
        for name, path in further:
            # what an interrupt has cut short is no replacement for the metrics of a whole run
            if not interrupted or name != "prometheus" or path == _STDOUT:
                _write(report, name, path, bool(verbose))
        status = policy.INTERRUPTED if interrupted else policy.exit_status(report)
        strict = options.judging.strict
        if push and not interrupted and not _pushed(push, report) and strict:
            status = status or policy.UNHEALTHY
    if ping and not _pinged(ping, succeeded=status == policy.HEALTHY) and strict:
        status = status or policy.UNHEALTHY
    return status


def _check(
    builders: tuple[str, ...],
    every: bool,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
    quiet: bool,
    verbose: int,
) -> tuple[Report, bool]:
    """The report, and whether the run was interrupted."""
    started_at, begun = datetime.now(timezone.utc), time.monotonic()
    store = Store(os.environ)
    chosen, unreadable = _choose(store, builders, every)
    selected = _select(chosen, only, exclude)
    _require_known(options.judging.advisory, chosen)
    with _progress(quiet, verbose) as observer, _sigterm_interrupts():
        # late, so that --help, list and a wrong option do not pay for it
        from bxhealth import wiring

        judged, checks, interrupted = wiring.check(store, selected, options, observer)
    judged += unreadable
    verdict = policy.overall(judged, checks, options.judging)
    return Report(__version__, started_at, time.monotonic() - begun, verdict, judged, checks), interrupted


@cli.command("list")
@option(
    "--format",
    "form",
    type=click.Choice(_LIST_FORMATS),
    default="table",
    show_default=True,
    help="What the list looks like.",
)
def list_builders(form: str) -> int:
    """Show builders and their nodes, without contacting any; * marks the current builder."""
    from bxhealth import listing

    store = Store(os.environ)
    chosen, unreadable = _choose(store, (), every=True)
    try:
        current = store.current().name
    except StoreError:
        current = ""
    _print(listing.render(chosen, current, form))
    for builder in unreadable:
        _complain(builder.error or "")
    return policy.COULD_NOT_CHECK if unreadable else policy.HEALTHY


cli.add_command(serve)


def _choose(store: Store, names: Sequence[str], every: bool) -> tuple[list[Builder], list[BuilderReport]]:
    """The builders that are meant, and a report for each that could not be read."""
    if not names and not every:
        try:
            return [store.current()], []
        except StoreError as error:
            raise CouldNotCheck(str(error)) from error
    try:
        names = store.names() if every else list(dict.fromkeys(names))
    except StoreError as error:
        raise CouldNotCheck(str(error)) from error
    chosen = []
    unreadable = [_unreadable(str(error)) for error in store.docker.broken_contexts()] if every else []
    for name in names:
        try:
            chosen.append(store.builder(name))
        except StoreError as error:
            unreadable.append(_unreadable(str(error), name))
    if not chosen and not every:
        raise CouldNotCheck(*(report.error or "" for report in unreadable))
    return chosen, unreadable


def _unreadable(error: str, name: str = "(a context)") -> BuilderReport:
    return BuilderReport(name, "", Verdict.UNHEALTHY, "all-nodes", (), error=error)


def _select(builders: Sequence[Builder], only: Sequence[str], exclude: Sequence[str]) -> list[Builder]:
    """The builders with only those of their nodes that are meant; those left without any are dropped."""
    known = {node.name for builder in builders for node in builder.nodes}
    for name in (*only, *exclude):
        if name not in known:
            raise CouldNotCheck(f"no node {name!r} in " + ", ".join(builder.name for builder in builders))
    selected = [
        replace(
            builder,
            nodes=tuple(node for node in builder.nodes if (not only or node.name in only) and node.name not in exclude),
        )
        for builder in builders
    ]
    kept = [builder for builder in selected if builder.nodes]
    if builders and not kept:
        raise CouldNotCheck("--node and --exclude leave no node to check")
    return kept


def _require_known(advisory: frozenset[str], builders: Sequence[Builder]) -> None:
    """A name that is neither a node nor a check would be silent about what it was meant for."""
    from bxhealth.checks import NAMES

    nodes = {node.name for builder in builders for node in builder.nodes}
    for name in sorted(advisory - nodes - set(NAMES)):
        raise click.UsageError(f"--advisory {name}: neither a node nor a check; checks are {', '.join(NAMES)}")


@contextlib.contextmanager
def _progress(quiet: bool, verbose: int) -> Iterator[Observer]:
    from bxhealth.checker import Observer
    from bxhealth.progress import LiveProgress, PlainProgress

    if quiet:
        yield Observer()
    elif sys.stderr.isatty() and not verbose and os.environ.get("TERM") != "dumb":
        with LiveProgress() as live:
            yield live
    else:
        with PlainProgress() as plain:
            yield plain


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends a run as an interrupt does: with a report, and with nothing left behind."""

    def interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(report: Report, form: str, path: str, verbose: bool) -> None:
    from bxhealth.files import write_whole
    from bxhealth.reporters import REPORTERS
    from bxhealth.reporters.interface import Style

    terminal = path == _STDOUT and sys.stdout.isatty()
    colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = REPORTERS[form](report, Style(colour, verbose))
    if path == _STDOUT:
        _print(text, colour=colour)
        return
    try:
        write_whole(Path(path), text)
    except OSError as error:
        raise CouldNotCheck(f"cannot write the report to {path}: {error.strerror or error}") from error


def _warn(report: Report) -> None:
    """Say on stderr what must not be overlooked, and to a CI system what it can show."""
    from bxhealth.reporters.annotations import are_wanted, render

    for builder in report.builders:
        if builder.error:
            _complain(builder.error)
        for platform, reason in policy.untried_canaries(builder).items():
            _complain(f"warning: canary {platform} was tried on no node of {builder.name}: {reason}")
    for check in report.checks:
        if check.cause:
            _complain(f"warning: {check.name} {check.target}: {check.cause.value}: {check.message}")
    if are_wanted(os.environ):
        click.echo(render(report), nl=False, err=True)


@contextlib.contextmanager
def _failure_pinged(url: str | None) -> Iterator[None]:
    """Whatever ends a run before its exit status is known is a failure for a dead man's switch."""
    try:
        yield
    except BaseException:
        if url:
            _pinged(url, succeeded=False)
        raise


def _pushed(url: str, report: Report) -> bool:
    from bxhealth.notifiers import pushgateway

    return _told("--push", lambda: pushgateway.push(url, report))


def _pinged(url: str, *, succeeded: bool) -> bool:
    from bxhealth.notifiers import dead_man

    return _told("--ping", lambda: dead_man.ping(url, succeeded=succeeded))


def _told(option: str, tell: Callable[[], None]) -> bool:
    from bxhealth.notifiers.endpoint import NotifyError

    try:
        tell()
    except NotifyError as error:
        _complain(f"warning: {option} failed: {error}")
        return False
    return True


def _complain(message: str) -> None:
    from bxhealth.reporters.escape import printable

    click.echo(f"bxhealth: {printable(message)}", err=True)


class CouldNotCheck(click.ClickException):
    """Nothing could be checked, and why; `show` says it on stderr, a line each."""

    exit_code = policy.COULD_NOT_CHECK

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self._messages = messages
        self.is_silent = False

    def show(self, file: object = None) -> None:  # noqa: ARG002
        """See `click.ClickException`."""
        for message in () if self.is_silent else self._messages:
            _complain(message)


@contextlib.contextmanager
def _silent(quiet: bool) -> Iterator[None]:
    try:
        yield
    except CouldNotCheck as error:
        error.is_silent = quiet
        raise


def _print(text: str, *, colour: bool = False) -> None:
    try:
        click.echo(text, nl=False, color=colour)
    except BrokenPipeError:
        # whoever read our output has seen enough; Python would complain about it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(128 + signal.SIGPIPE) from None
    except OSError as error:
        raise CouldNotCheck(f"cannot write the report: {error.strerror or error}") from error


def main() -> NoReturn:
    """The entry point: run the command line and exit with its status."""
    # a supervisor may have closed them, and Python leaves None then
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = policy.INTERRUPTED
    sys.exit(status)
