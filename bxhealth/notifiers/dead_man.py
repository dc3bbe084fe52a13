"""`--ping`: a dead man's switch, which raises the alarm when nobody calls it: Healthchecks.io and those like it.

The API: healthchecks/healthchecks, "Pinging API": the URL itself means success, `/fail` below it failure.
"""

from __future__ import annotations

from bxhealth.notifiers.endpoint import below, send


def ping(url: str, *, succeeded: bool) -> None:
    """Call the URL, or `URL/fail`.

    Raises:
        NotifyError: nobody answered.
    """
    send("GET", url if succeeded else below(url, "fail"))
