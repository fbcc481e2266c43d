"""Passwords of basic authentication: bcrypt hashes, checked beside the event loop, one at a time."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import bcrypt

from iovigil.agent import aside

CHECK_S: Final = 30.0
MAX_WAITING: Final = 32
MAX_REMEMBERED: Final = 256
BCRYPT_BYTES: Final = 72  # what is beyond them bcrypt never sees


class Busy(Exception):
    """Too many passwords are being checked already."""


class Passwords:
    """Says whether a password is right, and remembers what it has said.

    A user that does not exist takes as long as one that does: somebody else's hash is checked in its place.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)  # what is remembered cannot be tried out elsewhere
        # Apart, so that a flood of wrong passwords does not push out the right one.
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._turn = asyncio.Lock()  # a check costs a CPU: never more than one
        self._waiting = 0

    async def are_right(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether an Authorization header has a user's password. Raises Busy."""
        given = credentials(authorization)
        if given is None:
            return False
        user, password = given
        hashes = {name.encode(): text.encode() for name, text in users.items()}
        known = hashes.get(user)
        hashed = known or list(hashes.values())[hash_of(self._secret, user)[0] % len(hashes)]
        mark = hash_of(self._secret, b"\0".join((str(len(user)).encode(), user, known or b"", hashed, password)))
        if mark in self._right:
            return True
        if mark in self._wrong:
            self._wrong.move_to_end(mark)
            return False
        is_right = await self._check(password, hashed) and known is not None
        remember(self._right if is_right else self._wrong, mark)
        return is_right

    async def _check(self, password: bytes, hashed: bytes) -> bool:
        if self._waiting >= MAX_WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                return await aside.call(lambda: fits(password, hashed), CHECK_S)
        except (TimeoutError, OSError):
            raise Busy from None
        finally:
            self._waiting -= 1


def credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """Return user and password of an Authorization header; None of another scheme, or of none at all."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def fits(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed)
    except ValueError:  # a NUL in the password, to bcrypt before 4.0
        return False


def hash_of(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, content, hashlib.sha256)


def remember(marks: OrderedDict[bytes, None], mark: bytes) -> None:
    marks[mark] = None
    if len(marks) > MAX_REMEMBERED:
        marks.popitem(last=False)
