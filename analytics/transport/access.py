"""Owns how a Kafka client of ours is let in; must not open a connection itself."""

import ssl
from typing import Any

from analytics.settings import Settings


def client_options(settings: Settings, client_id: str) -> dict[str, Any]:
    """The arguments that every client of aiokafka needs to reach the brokers of `settings`.

    Raises OSError when the file of certificates cannot be read.
    """
    access = settings.broker_access
    protocol = f"{'SASL_' if access.user else ''}{'SSL' if access.tls else 'PLAINTEXT'}"
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.broker),
        "client_id": client_id,
        "security_protocol": protocol,
    }
    if access.tls:
        options["ssl_context"] = ssl.create_default_context(cafile=access.ca_file)
    if access.user:
        options["sasl_mechanism"] = access.sasl
        options["sasl_plain_username"] = access.user
        options["sasl_plain_password"] = access.password or ""
    return options
