"""The command line: parsing and wiring only."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from bxhealth import __version__, policy
from bxhealth.durations import Duration
from bxhealth.errors import StoreError
from bxhealth.model import Builder, BuilderReport, Report
from bxhealth.options import Limits, Options
from bxhealth.store import Store

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from bxhealth.checker import Observer, Outcome

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FORMATS = ("table", "json")
_SIGTERM_STATUS = 128 + signal.SIGTERM


def _option(*declarations: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """A click option that can also be given as `BXHEALTH_…` in the environment."""
    word = next(name for name in declarations if name.startswith("--")).split("/")[0].removeprefix("--")
    variable = f"BXHEALTH_{word.upper().replace('-', '_')}"
    return click.option(*declarations, envvar=variable, show_envvar=True, **attributes)


def _complete_builder(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from click.shell_completion import CompletionItem

    with contextlib.suppress(StoreError):
        return [CompletionItem(name) for name in Store(os.environ).names() if name.startswith(incomplete)]
    return []


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", prog_name="bxhealth", message="%(prog)s %(version)s")
def cli() -> None:
    """Tell the truth about multi-node buildx builders: which node cannot build, and why."""


@cli.command()
@click.argument("builders", metavar="[BUILDER]...", nargs=-1, shell_complete=_complete_builder)
@_option("--all", "every", is_flag=True, help="Check every builder that buildx knows.")
@_option("--node", "only", metavar="NODE", multiple=True, help="Check only this node; repeatable.")
@_option("--exclude", metavar="NODE", multiple=True, help="Check all nodes but this one; repeatable.")
@_option("--bootstrap/--no-bootstrap", default=True, show_default=True, help="Start nodes that are not running.")
@_option(
    "--probe-timeout",
    type=Duration(),
    default="5s",
    show_default=True,
    help="How long talking to a running node may take.",
)
@_option(
    "--boot-timeout",
    type=Duration(),
    default="2m",
    show_default=True,
    help="How long starting a node may take.",
)
@_option("--deadline", type=Duration(), help="How long the whole run may take.  [default: any time]")
@_option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Further attempts after a transient cause.",
)
@_option(
    "--retry-delay",
    type=Duration(),
    default="1s",
    show_default=True,
    help="The wait before the first of them; each further one takes twice as long.",
)
@_option("--fail-fast", is_flag=True, help="Stop at the first node that decides the verdict.")
@_option("--concurrency", type=click.IntRange(min=1), default=64, show_default=True, help="Nodes at a time.")
@_option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="What the report on stdout looks like.",
)
@click.option("-v", "--verbose", count=True, help="Explain every step on stderr, and show every check.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status says it all.")
def check(
    builders: tuple[str, ...],
    every: bool,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    bootstrap: bool,
    probe_timeout: float,
    boot_timeout: float,
    deadline: float | None,
    retries: int,
    retry_delay: float,
    fail_fast: bool,
    concurrency: int,
    form: str,
    verbose: int,
    quiet: bool,
) -> int:
    r"""Check every node of BUILDER now, and exit non-zero if any cannot build.

    Without BUILDER: buildx's own choice, which is $BUILDX_BUILDER, the current builder, or the current Docker
    context. Nodes that are not running are started first.

    \b
    Exit status:
      0    healthy, or degraded within the policy
      1    unhealthy
      2    wrong usage
      3    could not check: no such builder, no Docker CLI where one is needed, an unreadable store
      130  interrupted
    """
    if every and builders:
        raise click.UsageError("--all and the names of builders exclude each other")
    if verbose and quiet:
        raise click.UsageError("-v and -q exclude each other")
    logging.basicConfig(
        level=logging.INFO if verbose == 1 else logging.DEBUG if verbose else logging.ERROR,
        format="%(message)s",
        stream=sys.stderr,
    )
    limits = Limits(probe_timeout, boot_timeout, deadline, retries, retry_delay, concurrency)
    options = Options(limits, bootstrap, fail_fast)
    started_at, begun = datetime.now(timezone.utc), time.monotonic()
    store = Store(os.environ)
    chosen, unreadable = _choose(store, builders, every)
    selected = _select(chosen, only, exclude)
    outcome = _check_all(store, selected, options, quiet, verbose)
    judged = [
        policy.judge(
            builder.name,
            builder.driver,
            [node for j in range(len(builder.nodes)) for node in outcome.reports.get((i, j), ())],
            outcome.errors.get(i),
        )
        for i, builder in enumerate(selected)
    ]
    judged += unreadable
    report = Report(__version__, started_at, time.monotonic() - begun, policy.overall(judged), judged)
    status = policy.exit_status(report)
    if not quiet:
        _write(report, form, bool(verbose))
        for builder in judged:
            if builder.error:
                _complain(builder.error)
    return policy.INTERRUPTED if outcome.interrupted else status


@cli.command("list")
@_option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
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
    click.echo(listing.render(chosen, current, form), nl=False)
    for builder in unreadable:
        _complain(builder.error or "")
    return policy.COULD_NOT_CHECK if unreadable else policy.HEALTHY


def _choose(store: Store, names: Sequence[str], every: bool) -> tuple[list[Builder], list[BuilderReport]]:
    """The builders that are meant, and a report for each that could not be read."""
    if not names and not every:
        try:
            return [store.current()], []
        except StoreError as error:
            _give_up(str(error))
    try:
        names = store.names() if every else list(dict.fromkeys(names))
    except StoreError as error:
        _give_up(str(error))
    chosen, unreadable = [], []
    for name in names:
        try:
            chosen.append(store.builder(name))
        except StoreError as error:
            unreadable.append(policy.judge(name, "", (), str(error)))
    if not chosen and not every:
        _give_up(*(report.error or "" for report in unreadable))
    return chosen, unreadable


def _select(builders: Sequence[Builder], only: Sequence[str], exclude: Sequence[str]) -> list[Builder]:
    """The builders with only those of their nodes that are meant; those left without any are dropped."""
    known = {node.name for builder in builders for node in builder.nodes}
    for name in (*only, *exclude):
        if name not in known:
            _give_up(f"no node {name!r} in " + ", ".join(builder.name for builder in builders))
    selected = [
        replace(
            builder,
            nodes=tuple(
                node for node in builder.nodes if (not only or node.name in only) and node.name not in exclude
            ),
        )
        for builder in builders
    ]
    kept = [builder for builder in selected if builder.nodes]
    if builders and not kept:
        _give_up("--node and --exclude leave no node to check")
    return kept


def _check_all(store: Store, builders: Sequence[Builder], options: Options, quiet: bool, verbose: int) -> Outcome:
    # late, so that --help, list and a wrong option do not pay for it
    from bxhealth import drivers
    from bxhealth.buildx import Buildx
    from bxhealth.checker import Checker
    from bxhealth.checks import CHECKS

    buildx = Buildx()
    with _progress(quiet, verbose) as observer, _sigterm_interrupts():
        checker = Checker(
            options,
            lambda builder, node: drivers.link(builder, node, store.docker, buildx),
            CHECKS,
            buildx,
            observer,
        )
        return checker.run(builders)


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


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as an interrupt does, with an exit status of its own."""


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001
        raise _Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(report: Report, form: str, verbose: bool) -> None:
    from bxhealth.reporters import REPORTERS
    from bxhealth.reporters.interface import Style

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = REPORTERS[form](report, Style(colour, verbose))
    click.echo(text, nl=False, color=colour)


def _complain(message: str) -> None:
    from bxhealth.reporters.escape import printable

    click.echo(f"bxhealth: {printable(message)}", err=True)


def _give_up(*messages: str) -> NoReturn:
    for message in messages:
        _complain(message)
    raise click.exceptions.Exit(policy.COULD_NOT_CHECK)


def main() -> NoReturn:
    """The entry point: run the command line and exit with its status."""
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = policy.INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has seen enough; Python would complain about it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    except OSError as error:
        _complain(f"cannot write the report: {error.strerror or error}")
        status = policy.COULD_NOT_CHECK
    sys.exit(status)
