"""The command `bxhealth serve`: parsing only. What it runs is imported late: no other command pays for a web server."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from bxhealth import policy
from bxhealth.errors import BxhealthError
from bxhealth.options import Options
from bxhealth.parameters import DURATION, Command, builders_argument, check_options, option
from bxhealth.reporters.escape import printable


@click.command(cls=Command)
@builders_argument
@option("--all", "every", is_flag=True, help="Watch every builder that buildx knows.")
@option("--node", "only", metavar="NODE", multiple=True, help="Check only this node; repeatable.")
@option("--exclude", metavar="NODE", multiple=True, help="Check all nodes but this one; repeatable.")
@check_options
@option(
    "--interval",
    type=DURATION,
    default="30s",
    show_default=True,
    help="From one check of a builder to the next; up to a tenth less, so that builders do not stay in step.",
)
@option(
    "--web.listen-address",
    "addresses",
    metavar="[HOST]:PORT",
    multiple=True,
    default=["127.0.0.1:9888"],
    show_default=True,
    help="Where to listen; repeatable.",
)
@option(
    "--web.config.file",
    "web_config",
    metavar="PATH",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TLS and basic authentication, in the format of Prometheus's exporters.",
)
@option(
    "--timeout-offset",
    type=DURATION,
    default="500ms",
    show_default=True,
    help="How much earlier than Prometheus's scrape timeout a /probe answers.",
)
@option("-v", "--verbose", count=True, help="Explain every step on stderr.")
def serve(
    builders: tuple[str, ...],
    every: bool,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    options: Options,
    interval: float,
    addresses: tuple[str, ...],
    web_config: Path | None,
    timeout_offset: float,
    verbose: int,
) -> int:
    """Check every node of BUILDER again and again, and serve the results to Prometheus and to people.

    Without BUILDER: buildx's own choice, read anew each time. The store is read anew for each check, so builders
    and nodes may come and go.

    \b
      /metrics                  the last results for Prometheus, at once
      /probe?target=BUILDER     checks now; also node=NODE and canary=PLATFORM
      /api/v1/status            the last results as JSON
      /                         the last results for people
      /-/healthy  /-/ready      whether it lives; whether it has checked every builder once
    """  # noqa: D301 - click keeps the lines of a paragraph that begins with \b
    if every and builders:
        raise click.UsageError("--all and the names of builders exclude each other")
    from bxhealth import logs
    from bxhealth.exporter.listener import AddressError
    from bxhealth.exporter.server import Serving, serve
    from bxhealth.exporter.web_config import WebConfigError

    serving = Serving(builders, every, only, exclude, interval, addresses, web_config, timeout_offset)
    logs.show(verbose)
    try:
        serve(serving, options, _complain)
    except (AddressError, WebConfigError) as error:
        raise click.UsageError(str(error)) from error
    except BxhealthError as error:
        _complain(str(error))
        return policy.COULD_NOT_CHECK
    return policy.HEALTHY


def _complain(message: str) -> None:
    # whoever read it may be gone, which is no reason to stop checking
    with contextlib.suppress(OSError):
        click.echo(f"bxhealth: {printable(message)}", err=True)
