"""Owns how a Kafka client of ours is let in; must not open a connection itself."""

import ssl
from pathlib import Path
from typing import Any

from analytics.errors import ConfigError, Mistake
from analytics.settings import Settings


def client_options(settings: Settings, client_id: str) -> dict[str, Any]:
    """The arguments that every client of aiokafka needs to reach the brokers of `settings`.

    Raises ConfigError when the file of certificates cannot be read.
    """
    access = settings.broker_access
    protocol = f"{'SASL_' if access.user else ''}{'SSL' if access.tls else 'PLAINTEXT'}"
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.broker),
        "client_id": client_id,
        "security_protocol": protocol,
    }
    if access.tls:
        options["ssl_context"] = _trusting(access.ca_file)
    if access.user:
        options["sasl_mechanism"] = access.sasl
        options["sasl_plain_username"] = access.user
        options["sasl_plain_password"] = access.password or ""
    return options


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # a file that holds no certificates is one of these too
        rule = "must be a file of certificates that can be read"
        raise ConfigError([Mistake("settings", "broker: ca", rule, str(ca_file))]) from error
