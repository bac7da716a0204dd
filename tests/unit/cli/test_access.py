"""Tests of how the settings of a broker reach Kafka's client."""

from pathlib import Path

import pytest

from analytics.errors import ConfigError
from analytics.settings import load
from analytics.transport.access import client_options


def options(url: str) -> dict[str, object]:
    return client_options(load(None, {"ANALYTICS_BROKER": url}, {}), "test")


def test_a_plain_broker_needs_its_addresses_only() -> None:
    assert options("kafka://a:1,b:2") == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "test",
        "security_protocol": "PLAINTEXT",
    }


def test_a_user_signs_in_over_tls() -> None:
    found = options("kafka+tls://me:s%40fe@a:1?sasl=SCRAM-SHA-512")

    assert found["security_protocol"] == "SASL_SSL"
    assert found["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (found["sasl_plain_username"], found["sasl_plain_password"]) == ("me", "s@fe")


def test_certificates_that_cannot_be_read_are_a_mistake(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="must be a file of certificates"):
            options(f"kafka+tls://a:1?ca={file}")
