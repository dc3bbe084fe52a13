from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from bxhealth.exporter.pages import Page, builder_view, headline
from bxhealth.exporter.redaction import endpoint, report, without_userinfo
from tests.exporter.reports import AT, builder, checked, down, up


class Outline(HTMLParser):
    """What a screen reader and a browser find: elements, their attributes, and whether tags are balanced."""

    VOID = ("meta", "link", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.found)


def page(*checks: object, problems: tuple[str, ...] = ()) -> str:
    return Page("1.2.3", 30).render(list(checks), problems, AT)  # type: ignore[arg-type]


def test_it_names_what_is_wrong_and_what_to_do() -> None:
    result = checked(up("n1", platforms=["linux/arm64"]), down("n2")).after({})
    text = page(result)
    assert "1 of 2 nodes down" in text
    for words in ("endpoint_refused", "nothing listens", "start it", "linux/arm64", "tcp://n2.example:1234"):
        assert words in text


def test_failing_nodes_come_first() -> None:
    view = builder_view(checked(up("a"), down("z")))
    assert [node.name for node in view.nodes] == ["z", "a"]


def test_it_can_be_read_by_a_screen_reader() -> None:
    outline = Outline(page(checked(up("n1"), down("n2")).after({})))
    assert all(outline.count(tag) == 1 for tag in ("h1", "main", "header", "footer", "nav", "title"))
    assert all(attributes.get("scope") for tag, attributes in outline.found if tag == "th")
    assert all(attributes["aria-label"] for _, attributes in outline.found if attributes.get("role") == "img")
    assert outline.count("table") == outline.count("caption")
    assert dict(outline.found)["html"]["lang"] == "en"


def test_it_loads_nothing_from_elsewhere_and_needs_no_script() -> None:
    outline = Outline(page(checked(up(), down("n2"))))
    assert not outline.count("script")
    for _, attributes in outline.found:
        assert not {"style", "onclick", "onload"} & set(attributes)
        for name in ("src", "href"):
            assert ":" not in (attributes.get(name) or "")


def test_whatever_nodes_say_is_text() -> None:
    evil = "<script>alert(1)</script>\"'\x1b[31m"
    node = replace(down(evil, message=evil), endpoint=evil, hint=evil, buildkit_version=evil, platforms=(evil,))
    text = page(checked(node, name=evil, error=evil).after({}), problems=(evil,))
    outline = Outline(text)
    assert not outline.count("script")
    assert "\x1b" not in text
    assert len(page(checked(down("n", message="x" * 100_000)))) < 20_000


def test_the_strip_has_times_and_words_besides_colour() -> None:
    first = checked(up("n1")).after({})
    second = checked(down("n1"), at=AT + 30).after(first.histories)
    node = builder_view(second).nodes[0]
    assert [(cell.style, cell.said) for cell in node.cells] == [
        ("healthy", "22:13:20 up"),
        ("unhealthy", "22:13:50 down (endpoint_refused)"),
    ]
    assert node.summary == "1 of the last 2 checks found it up, 22:13:20 to 22:13:50 UTC"
    assert [(s.since, s.checks) for s in node.stretches] == [("22:13:50", 1), ("22:13:20", 1)]


def test_a_platform_that_nobody_serves_any_more_is_shown() -> None:
    before = checked(up("n1", platforms=["linux/arm64"]), up("n2")).after({})
    view = builder_view(checked(down("n1"), up("n2")).after(before.histories))
    assert {platform.name for platform in view.platforms if platform.missing} == {"linux/arm64"}


def test_headlines() -> None:
    assert headline([]) == "No builder has been checked yet"
    assert headline([checked(up("a"), up("b"))]) == "All 2 nodes up"
    assert headline([checked(error="cut off"), checked(down())]) == "1 of 1 nodes down, 1 builder could not be checked"


def test_credentials_are_taken_out_everywhere() -> None:
    said = "connecting to tcp://user:p@ss@host:1: refused"
    node = replace(down(message=said), endpoint="ssh://root:pw@host", log_tail=(said,))
    shown = repr(report(builder(node, error=said)))
    assert "p@ss" not in shown
    assert "pw" not in shown
    assert endpoint("tcp://u:p@[::1]:1?x=secret") == "tcp://[::1]:1"
    assert endpoint("my-context") == "my-context"
    assert without_userinfo("mail a@b, then tcp://host") == "mail a@b, then tcp://host"
