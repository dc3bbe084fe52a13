"""The options of `check`, as click decorators that hand a command one `Options`."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

import click

from bxhealth import durations, platforms, sizes, versions
from bxhealth.errors import StoreError
from bxhealth.options import ALL_NODES, ALL_PLATFORMS, Judging, Limits, Options, Threshold
from bxhealth.store import Store
from bxhealth.versions import Version

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Value = TypeVar("_Value")
_FOR_DECLARED = "declared"
"""What a bare `--canary` stands for."""


class Parsed(click.ParamType, Generic[_Value]):  # type: ignore[type-arg,unused-ignore]
    """A parameter that one of our parsers reads; its `ValueError` is the user's message."""

    def __init__(self, name: str, parse: Callable[[str], _Value]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a default that is none of a text is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _complete_builder(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    from click.shell_completion import CompletionItem

    with contextlib.suppress(StoreError):
        return [CompletionItem(name) for name in Store(os.environ).names() if name.startswith(incomplete)]
    return []


builders_argument = click.argument("builders", metavar="[BUILDER]...", nargs=-1, shell_complete=_complete_builder)
"""The builders that are meant; a shell completes their names."""


def _some_time(text: str) -> float:
    seconds = durations.parse(text)
    if not seconds or math.isinf(seconds):
        raise ValueError(f"{text!r} is no time that could be waited for")
    return seconds


def _platform_list(text: str) -> tuple[str, ...]:
    return platforms.unique(platforms.parse(part) for part in text.split(","))


def _canary(text: str) -> tuple[str, ...]:
    return () if text == _FOR_DECLARED else _platform_list(text)


def _image(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is not the name of an image")
    return text


def _url(text: str) -> str:
    # the text is no part of the message: such a URL may be a secret
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a URL that starts with http:// or https://") from None
    return text


def _registry(text: str) -> str:
    host = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    if not host or not host.isprintable() or any(character in host for character in "@/ ?#"):
        # what it is is not repeated: it may hold a password
        raise ValueError("a registry is given as HOST or HOST:PORT")
    return host


DURATION: Parsed[float] = Parsed("duration", _some_time)
URL: Parsed[str] = Parsed("url", _url)
_PLATFORMS: Parsed[tuple[str, ...]] = Parsed("platforms", _platform_list)
_CANARY: Parsed[tuple[str, ...]] = Parsed("platforms", _canary)
_IMAGE: Parsed[str] = Parsed("image", _image)
_REGISTRY: Parsed[str] = Parsed("registry", _registry)
_SIZE: Parsed[Threshold] = Parsed("size", sizes.parse)
_VERSION: Parsed[Version] = Parsed("version", versions.parse)


def option(*declarations: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """A click option that can also be given as `BXHEALTH_…` in the environment."""
    word = next(name for name in declarations if name.startswith("--")).split("/")[0].removeprefix("--")
    variable = f"BXHEALTH_{word.upper().replace('-', '_').replace('.', '_')}"
    return click.option(*declarations, envvar=variable, show_envvar=True, **attributes)


class Command(click.Command):
    """A command whose `--canary` takes a value only after `=`, so that a builder's name may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        end = args.index("--") if "--" in args else len(args)
        args = [f"--canary={_FOR_DECLARED}" if a == "--canary" and i < end else a for i, a in enumerate(args)]
        return super().parse_args(ctx, args)


_OPTIONS: Sequence[Callable[[Any], Any]] = (
    option("--bootstrap/--no-bootstrap", default=True, show_default=True, help="Start nodes that are not running."),
    option(
        "--probe-timeout",
        type=DURATION,
        default="5s",
        show_default=True,
        help="How long talking to a running node may take.",
    ),
    option(
        "--boot-timeout",
        type=DURATION,
        default="2m",
        show_default=True,
        help="How long starting a node, or a build on it, may take.",
    ),
    option("--deadline", type=DURATION, help="How long the whole run may take.  [default: any time]"),
    option(
        "--retries",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Further attempts after a transient cause.",
    ),
    option(
        "--retry-delay",
        type=DURATION,
        default="1s",
        show_default=True,
        help="The wait before the first of them; each further one takes twice as long.",
    ),
    option("--fail-fast", is_flag=True, help="Stop at the first node that decides the verdict."),
    option("--concurrency", type=click.IntRange(min=1), default=64, show_default=True, help="Nodes at a time."),
    option(
        "--policy",
        type=click.Choice([ALL_NODES, ALL_PLATFORMS]),
        default=ALL_NODES,
        show_default=True,
        help="What fails: any failing node, or only a platform with too few healthy nodes.",
    ),
    option(
        "--min-nodes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="How many healthy nodes a platform needs with --policy all-platforms.",
    ),
    option(
        "--require-platform",
        "required",
        metavar="P[,P...]",
        type=_PLATFORMS,
        multiple=True,
        help="Some healthy node must serve this platform; repeatable.",
    ),
    option("--native", is_flag=True, help="Count no node that only emulates a platform."),
    option(
        "--advisory",
        metavar="NODE|CHECK",
        multiple=True,
        help="Failures of this node, or check, warn and do not fail; repeatable.",
    ),
    option("--strict", is_flag=True, help="Warnings fail too."),
    option(
        "--canary",
        metavar="[=P,...]",
        type=_CANARY,
        help="Execute a tiny build on each node, for the platforms it declares, or for these.",
    ),
    option(
        "--pull",
        metavar="IMAGE",
        type=_IMAGE,
        multiple=True,
        help="Each node must be able to resolve IMAGE; repeatable.",
    ),
    option(
        "--registry",
        "registries",
        metavar="HOST",
        type=_REGISTRY,
        multiple=True,
        help="The client's credentials for HOST must work; warns, unless --strict; repeatable.",
    ),
    option(
        "--min-free-disk",
        metavar="SIZE|SHARE",
        type=_SIZE,
        help="Free space, and inodes, that a node needs, such as 5GiB or 10%.",
    ),
    option("--min-buildkit", metavar="VERSION", type=_VERSION, help="The oldest BuildKit that will do, such as v0.20."),
    option("--same-version", is_flag=True, help="All nodes must have the same BuildKit version."),
    option(
        "--certificate-days",
        metavar="DAYS",
        type=click.FloatRange(min=0),
        help="For how many more days a TLS certificate must be valid.",
    ),
)


def check_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `check`, handed over as the parameter `options`."""

    @functools.wraps(function)
    def command(
        *arguments: Any,
        bootstrap: bool,
        probe_timeout: float,
        boot_timeout: float,
        deadline: float | None,
        retries: int,
        retry_delay: float,
        fail_fast: bool,
        concurrency: int,
        policy: str,
        min_nodes: int,
        required: tuple[tuple[str, ...], ...],
        native: bool,
        advisory: tuple[str, ...],
        strict: bool,
        canary: tuple[str, ...] | None,
        pull: tuple[str, ...],
        registries: tuple[str, ...],
        min_free_disk: Threshold | None,
        min_buildkit: Version | None,
        same_version: bool,
        certificate_days: float | None,
        **others: Any,
    ) -> Any:
        options = Options(
            Limits(probe_timeout, boot_timeout, deadline, retries, retry_delay, concurrency),
            bootstrap,
            fail_fast,
            Judging(
                policy,
                min_nodes,
                platforms.unique(platform for group in required for platform in group),
                native,
                frozenset(advisory),
                strict,
            ),
            canary,
            tuple(dict.fromkeys(pull)),
            tuple(dict.fromkeys(registries)),
            min_free_disk,
            min_buildkit,
            same_version,
            certificate_days,
        )
        return function(*arguments, options=options, **others)

    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command
