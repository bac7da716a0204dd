"""Owns what a URL of ours holds beyond an address: passwords, and how Kafka is reached."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from analytics.core.definitions.readers import text

BROKER_PORT: Final = 9092
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_PASSWORD: Final = re.compile(r"(://[^\s/?#@:]*:)[^\s/?#]*@")
# What is hidden reaches to the last @, in case a password holds what it should have escaped.
_HIDDEN: Final = re.compile(r"(://[^\s/?#@:]*:).*@", re.DOTALL)
_USER_ALONE: Final = re.compile(r"(://[^\s/?#@:]+)@")
_BROKER: Final = re.compile(
    r"kafka(?P<tls>\+tls)?://"
    r"(?:(?P<user>[^\s/?#:@]+)(?::(?P<password>[^\s/?#@]*))?@)?"
    r"(?P<hosts>[^\s/?#@]+)/?(?:\?(?P<options>\S*))?"
)
_ADDRESS: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """How Kafka lets us in: by SASL where there is a user, over TLS where it says so.

    `ca_file` None means the roots that the system trusts.
    """

    tls: bool = False
    ca_file: Path | None = None
    sasl: str = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_broker(url: str) -> tuple[tuple[str, ...], BrokerAccess]:
    """Read `kafka://host:9092,host:9092` into addresses `host:port` and access.

    In full: `kafka+tls://user:password@host:9093?sasl=SCRAM-SHA-512&ca=/path/ca.pem`. Raises
    ValueError with the rule that it breaks.
    """
    # A list of whole URLs is as common as one URL with several hosts.
    match = _BROKER.fullmatch(re.sub(r",\s*kafka(\+tls)?://", ",", url))
    addresses = [_ADDRESS.fullmatch(host) for host in match["hosts"].split(",")] if match else []
    if match is None or None in addresses:
        raise ValueError("must be a URL such as kafka://host:9092 (several hosts: comma)")
    options = dict(parse_qsl(match["options"] or ""))
    access = BrokerAccess(
        tls=match["tls"] is not None,
        ca_file=Path(options.pop("ca")) if "ca" in options else None,
        sasl=options.pop("sasl", "PLAIN"),
        user=_unquoted(match["user"]),
        password=_unquoted(match["password"]),
    )
    if options:
        raise ValueError("must have no options but sasl and ca")
    if access.sasl not in SASL_MECHANISMS:
        raise ValueError(f"must have a sasl option of {', '.join(SASL_MECHANISMS)}")
    return tuple(_address(found) for found in addresses if found), access


def read_broker(value: object) -> str:
    """Check that `parse_broker` can read the value, and leave it as it is."""
    url = text(value)
    parse_broker(url)
    return url


def mask_password(value: object) -> object:
    """The value, with `***` for the password of a URL."""
    return _HIDDEN.sub(r"\1***@", value) if isinstance(value, str) else value


def with_password(url: str, password: str) -> str:
    """The URL with a password for the user it names; ValueError where it has one, or no user."""
    if _PASSWORD.search(url):
        raise ValueError("must not come with a URL that holds a password already")
    if not _USER_ALONE.search(url):
        raise ValueError("must come with a URL that names the user, as in ://user@host")
    secret = quote(password, safe="")
    return _USER_ALONE.sub(lambda user: f"{user[1]}:{secret}@", url, count=1)


def _address(match: re.Match[str]) -> str:
    return f"{match['host']}:{match['port'] or BROKER_PORT}"


def _unquoted(part: str | None) -> str | None:
    return None if part is None else unquote(part)
