"""The page, opened in Chromium and read as a person, with or without eyes, would read it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from .browser import chromium
from .monitoring import exporter
from .testbed.builders import Client, Node
from .testbed.hosts import Host
from .testbed.waiting import wait_until

_READINGS: Final = 6
_REFRESH: Final = "15s"
"""How often the page refreshes itself, too: time enough to read it on a busy machine."""


@pytest.fixture
def browser(new_directory: Path) -> Iterator[webdriver.Chrome]:
    """A phone's width, no JavaScript, and nothing on the network but loopback."""
    with chromium(new_directory, width=390, height=844) as driver:
        yield driver


def test_a_person_sees_a_host_die(
    client: Client,
    hosts: list[Host],
    booted: tuple[str, list[Node]],
    browser: webdriver.Chrome,
    new_directory: Path,
) -> None:
    name, nodes = booted
    dead = nodes[1].name
    with exporter(client.env, new_directory / "log", f"--interval={_REFRESH}", name) as url:
        browser.get(f"{url}/")
        assert heading(browser, 1) == "bxhealth: All 3 nodes up"
        assert browser.title.startswith("All 3 nodes up")
        assert heading(browser, 2).startswith(f"Builder {name}")
        _undisturbed(lambda: _read_healthy(browser, nodes))

        with hosts[1].killed():
            # it refreshes itself: nobody touches it
            wait_until(lambda: "1 of 3 nodes down" in _shown(browser), "the page says so", seconds=90)
            browser.get(f"{url}/")  # so that it does not refresh itself while it is being read
            assert heading(browser, 1) == "bxhealth: 1 of 3 nodes down"
            _undisturbed(lambda: _read_fault(browser, dead, hosts[1]))
    said: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert not [entry for entry in said if entry["level"] == "SEVERE"]


def heading(browser: webdriver.Chrome, level: int) -> str:
    """The first heading of a level."""
    return browser.find_element(By.TAG_NAME, f"h{level}").text


def node_rows(browser: webdriver.Chrome) -> list[WebElement]:
    """The rows of the table whose name says that it has the nodes."""
    table = next(
        table
        for table in browser.find_elements(By.TAG_NAME, "table")
        if table.accessible_name.startswith("Nodes of") and table.aria_role == "table"
    )
    rows = table.find_elements(By.CSS_SELECTOR, ":scope > tbody > tr")
    assert all(row.aria_role == "row" for row in rows)
    return rows


def _read_healthy(browser: webdriver.Chrome, nodes: list[Node]) -> None:
    rows = node_rows(browser)
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == sorted(node.name for node in nodes)
    assert all("up" in row.text and "linux/amd64" in row.text for row in rows)
    _assert_accessible(browser)
    _assert_fits(browser)


def _read_fault(browser: webdriver.Chrome, dead: str, host: Host) -> None:
    first = node_rows(browser)[0]
    assert first.find_element(By.TAG_NAME, "th").text == dead
    words = first.text
    assert "down" in words
    assert "Cause: endpoint_refused" in words
    assert "What to do: Start the Docker engine" in words
    assert f"unix://{host.socket}" in words
    strip = first.find_element(By.CSS_SELECTOR, '[role="img"]')
    assert "of the last" in strip.accessible_name
    # the times of the last checks are behind a word that opens them
    first.find_element(By.TAG_NAME, "summary").click()
    assert "down (endpoint_refused)" in node_rows(browser)[0].text
    _assert_accessible(browser)
    _assert_fits(browser)


def _undisturbed(read: Callable[[], None]) -> None:
    """Read the page, from the top where it has refreshed itself meanwhile."""
    for _ in range(_READINGS - 1):
        try:
            return read()
        except WebDriverException:
            continue
    return read()


def _shown(browser: webdriver.Chrome) -> str:
    try:
        return heading(browser, 1)
    except WebDriverException:  # it was just being replaced
        return ""


def _assert_accessible(browser: webdriver.Chrome) -> None:
    roles = {element.aria_role for element in browser.find_elements(By.CSS_SELECTOR, "body > *")}
    assert {"banner", "main", "navigation", "contentinfo"} <= roles
    for element in browser.find_elements(By.CSS_SELECTOR, "section, table, nav, a"):
        assert element.accessible_name or not element.is_displayed(), element.get_attribute("outerHTML")
    for cell in browser.find_elements(By.CSS_SELECTOR, ".nodes > tbody > tr > th"):
        assert cell.aria_role == "rowheader"


def _assert_fits(browser: webdriver.Chrome) -> None:
    """Nobody has to scroll sideways."""
    root = browser.find_element(By.TAG_NAME, "html")
    widest = max(
        (element.rect["x"] + element.rect["width"], element.tag_name, element.get_attribute("class"))
        for element in browser.find_elements(By.CSS_SELECTOR, "main *")
        if element.is_displayed()
    )
    assert widest[0] <= root.rect["width"] + 1, widest
