from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import bcrypt
import pytest

from bxhealth.exporter import auth
from bxhealth.exporter.auth import Passwords, TooManyGuesses

USERS = {"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[[], threading.Event]:
    """From when it is called, no password is compared before the event that it returns."""
    compare, proceed = auth._is_password, threading.Event()

    def slowly(password: str, hashed: str) -> bool:
        proceed.wait(10)
        return compare(password, hashed)

    def begin() -> threading.Event:
        monkeypatch.setattr(auth, "_is_password", slowly)
        return proceed

    return begin


def test_guesses_neither_push_out_the_right_password_nor_stand_before_it(hold: Callable[[], threading.Event]) -> None:
    async def run() -> None:
        passwords = Passwords()
        assert await passwords.match(USERS, "alice", "secret", "scraper")
        for number in range(auth._MAX_REMEMBERED + 1):
            passwords._wrong.add(b"%d" % number)
        proceed = hold()
        guesses = [asyncio.create_task(passwords.match(USERS, "alice", f"guess {i}", f"{i}")) for i in range(50)]
        while passwords._guesses.total() < auth._MAX_GUESSES:
            await asyncio.sleep(0)
        # the scraper gets in while they wait
        assert await asyncio.wait_for(passwords.match(USERS, "alice", "secret", "scraper"), 5)
        proceed.set()
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyGuesses)]
        assert outcomes.count(False) + len(refused) == len(guesses)
        assert len(refused) == len(guesses) - auth._MAX_GUESSES

    asyncio.run(run())


def test_who_guesses_stands_before_nobody_at_another_address(hold: Callable[[], threading.Event]) -> None:
    async def run() -> None:
        passwords, proceed = Passwords(), hold()
        guesses = [asyncio.create_task(passwords.match(USERS, "alice", f"guess {i}", "1.2.3.4")) for i in range(50)]
        while not passwords._guesses:
            await asyncio.sleep(0)
        # a password that is not known yet, as after a restart
        scraper = asyncio.create_task(passwords.match(USERS, "alice", "secret", "5.6.7.8"))
        proceed.set()
        assert await scraper
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        assert outcomes.count(False) == auth._MAX_GUESSES_EACH
        assert not passwords._guesses

    asyncio.run(run())


def test_many_who_say_the_same_at_once_are_one_guess() -> None:
    """Such as all scrapes of one Prometheus after the exporter was restarted."""

    async def run() -> None:
        passwords = Passwords()
        scrapes = [passwords.match(USERS, "alice", "secret", "prometheus") for _ in range(50)]
        assert await asyncio.gather(*scrapes) == [True] * 50
        # one that leaves takes nobody with it
        first, second = (asyncio.create_task(passwords.match(USERS, "alice", "no", "p")) for _ in range(2))
        while not passwords._guesses:
            await asyncio.sleep(0)
        first.cancel()
        assert await second is False

    asyncio.run(run())


def test_a_wrong_password_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scraper with an old password asks for ever."""
    compared: list[str] = []

    def noting(password: str, hashed: str) -> bool:  # noqa: ARG001
        compared.append(password)
        return False

    monkeypatch.setattr(auth, "_is_password", noting)

    async def run() -> None:
        passwords = Passwords()
        for _ in range(3):
            assert not await passwords.match(USERS, "alice", "old", "scraper")

    asyncio.run(run())
    assert compared == ["old"]
