from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from bxhealth.exporter.web_config import WebConfigError, WebConfigFile, parse
from tests.certificates import Authority

HASH = "$2y$04$abcdefghijklmnopqrstuuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "not a mapping"),
        ("tls: {}", "'tls'"),
        ("{", "not YAML"),
        ("tls_server_config: {cert_file: a}", "key_file"),
        ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: []}", "cipher_suites"),
        ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}", "none of"),
        ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "belong together"),
        ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}", "together"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}", "TLS10"),
        ("basic_auth_users: {alice: secret}", "bcrypt"),
        ("basic_auth_users: [alice]", "names with"),
        ("basic_auth_users: 0", "names with"),
        ("basic_auth_users: {alice: $2y$10$short}", "bcrypt"),
        ("http_server_config: {http2: perhaps}", "http2"),
        ("tls_server_config: 0", "not a mapping"),
        ("!!bool x", "not YAML"),
        ("!!timestamp x", "not YAML"),
        ("!!int ''", "not YAML"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}", "later"),
        ("http_server_config: {headers: {X-Mine: a}}", "X-Mine"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\0b"}}', "X-Frame-Options"),
        ("http_server_config: {headers: {X-Frame-Options: ä}}", "X-Frame-Options"),
        ("basic_auth_users: 2026-13-45", "not YAML"),
        ("[" * 5000, "not YAML"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, says: str) -> None:
    with pytest.raises(WebConfigError, match=says):
        parse(text, Path("/"))


def test_what_means_the_default() -> None:
    config = parse("tls_server_config: {}\nhttp_server_config: {http2: , headers: {X-XSS-Protection: 0}}", Path("/"))
    assert config.tls is None
    assert config.headers == {"X-XSS-Protection": "0"}


def test_a_file_that_no_system_can_have(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text('tls_server_config: {cert_file: "a\\0b", key_file: b}')
    with pytest.raises(WebConfigError, match="no name of a file"):
        WebConfigFile(path, print)


def test_a_header_of_several_lines_is_one() -> None:
    text = (
        "http_server_config:\n  headers:\n    Content-Security-Policy: |\n      default-src 'none';\n      img-src a\n"
    )
    assert parse(text, Path("/")).headers == {"Content-Security-Policy": "default-src 'none'; img-src a"}


def test_an_empty_file_asks_for_nothing() -> None:
    config = parse("", Path("/"))
    assert config.tls is None
    assert not config.users


def test_all_of_it(tmp_path: Path) -> None:
    text = f"""
        tls_server_config:
          cert_file: server.crt
          key_file: /abs/server.key
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: ca.pem
          min_version: TLS13
        http_server_config:
          http2: true
          headers: {{Strict-Transport-Security: max-age=1}}
        basic_auth_users:
          alice: {HASH}
    """
    config = parse(text, tmp_path)
    assert config.tls is not None
    assert config.tls.files == (tmp_path / "server.crt", Path("/abs/server.key"), tmp_path / "ca.pem")
    assert config.tls.client_auth is ssl.CERT_REQUIRED
    assert config.tls.min_version is ssl.TLSVersion.TLSv1_3
    assert config.users == {"alice": HASH}
    assert config.headers == {"Strict-Transport-Security": "max-age=1"}


def test_a_change_is_seen_and_a_bad_one_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    file = WebConfigFile(path, said.append)
    path.write_text("basic_auth_users: {bob: clear}")
    assert set(file.config.users) == set(file.config.users) == {"alice"}
    assert len(said) == 1
    path.unlink()
    assert set(file.config.users) == {"alice"}
    assert len(said) == 2
    path.write_text(f"basic_auth_users: {{bob: {HASH}}}")
    assert set(file.config.users) == {"bob"}


def test_a_file_that_is_emptied_lets_nobody_in(tmp_path: Path) -> None:
    """Which is what an editor that writes in place does for a moment, and a full disk for good."""
    said: list[str] = []
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    file = WebConfigFile(path, said.append)
    path.write_text("")
    assert set(file.config.users) == {"alice"}
    assert "passwords" in said[-1]


def test_a_change_while_it_is_read_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    file = WebConfigFile(path, print)
    read = Path.read_text
    texts = [f"basic_auth_users: {{bob: {HASH}}}", f"basic_auth_users: {{carol: {HASH}}}"]

    def read_then_change(self: Path, *_: object) -> str:
        content = read(self)
        if self == path and texts:
            path.write_text(texts.pop(0))
        return content

    monkeypatch.setattr(Path, "read_text", read_then_change)
    path.write_text(f"basic_auth_users: {{dave: {HASH}, eve: {HASH}}}")
    assert set(file.config.users) == {"carol"}
    assert not texts


def test_a_file_that_changes_all_the_time_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: {HASH}}}")
    file = WebConfigFile(path, said.append)
    read, count = Path.read_text, iter(range(1000))

    def read_then_change(self: Path, *_: object) -> str:
        content = read(self)
        path.write_text(f"basic_auth_users: {{u{next(count)}: {HASH}}}")
        return content

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", read_then_change)
        path.write_text("")
        assert set(file.config.users) == {"alice"}
        assert "all the time" in said[-1]
    (user,) = file.config.users
    assert user.startswith("u")


def test_a_file_that_was_missing_is_seen_when_it_comes(tmp_path: Path, authority: Authority) -> None:
    first, second = authority.issue("web-1"), authority.issue("web-2")
    path = tmp_path / "web.yml"
    path.write_text(f"tls_server_config: {{cert_file: {first.cert}, key_file: {first.key}}}")
    said: list[str] = []
    file = WebConfigFile(path, said.append)
    before = file.context
    path.write_text(f"tls_server_config: {{cert_file: later.crt, key_file: {second.key}}}")
    assert file.context is before
    assert "later.crt" in said[-1]
    (tmp_path / "later.crt").write_bytes(second.cert.read_bytes())
    assert file.context is not before


def test_one_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match=r"web\.yml"):
        WebConfigFile(tmp_path / "web.yml", print)
    path = tmp_path / "web.yml"
    path.write_text("tls_server_config: {cert_file: nope, key_file: nope}")
    with pytest.raises(WebConfigError, match="missing"):
        WebConfigFile(path, print)


def test_a_new_certificate_is_a_new_context(tmp_path: Path, authority: Authority) -> None:
    said: list[str] = []
    first, second = authority.issue("web-1"), authority.issue("web-2")
    for name, source in (("crt", first.cert), ("key", first.key)):
        (tmp_path / name).write_bytes(source.read_bytes())
    path = tmp_path / "web.yml"
    path.write_text("tls_server_config: {cert_file: crt, key_file: key}")
    file = WebConfigFile(path, said.append)
    before = file.context
    assert before is file.context
    for name, source in (("crt", second.cert), ("key", second.key)):
        (tmp_path / "new").write_bytes(source.read_bytes())
        (tmp_path / "new").replace(tmp_path / name)
    assert file.context is not before
    path.write_text("")
    assert file.context is not None
    assert "restart" in said[-1]
