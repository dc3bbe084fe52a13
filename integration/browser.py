"""Chromium, from Debian's package, without a display, without JavaScript and without any other host."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from .testbed.packages import need


@contextlib.contextmanager
def chromium(directory: Path, *, width: int, height: int) -> Iterator[webdriver.Chrome]:
    """A browser with a window of this size, and its profile in `directory`; it ends with the `with`."""
    need("chromium", "chromium")
    need("chromedriver", "chromium-driver")
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # as root, there is none
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        # every name but loopback's resolves to nothing
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={directory / 'chromium'}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    # 2 forbids
    options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    # a browser window cannot be narrower than 500 pixels; a phone's screen can
    options.add_experimental_option(
        "mobileEmulation", {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0}}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service("/usr/bin/chromedriver", log_output=str(directory / "chromedriver.log"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()
