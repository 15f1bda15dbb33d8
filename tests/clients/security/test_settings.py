"""What may stand in `security`, and that no message shows a secret."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kafka_runbooks.clients.clusters import ConfiguredClusters
from kafka_runbooks.clients.errors import Refused
from kafka_runbooks.clients.security.settings import Security, read_security

SCRAM = {"mechanism": "SCRAM-SHA-512", "username": "a", "password_file": "/s/password"}
OAUTH = {
    "mechanism": "OAUTHBEARER",
    "token_endpoint_url": "https://login.test/token",
    "client_id": "a",
    "client_secret_file": "/s/secret",
}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"protocol": "SSL"},
        {"protocol": "SSL", "ca_file": "/s/ca", "certificate_file": "/s/c", "key_file": "/s/k", "key_password_file": "/s/p"},
        {"protocol": "SASL_SSL", "ca_file": "/s/ca", "sasl": SCRAM},
        {"protocol": "SASL_PLAINTEXT", "sasl": OAUTH | {"scope": "kafka", "ca_file": "/s/ca"}},
    ],
    ids=str,
)
def test_what_fits(settings: dict[str, Any]) -> None:
    found = Security.model_validate(settings)
    assert Security.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "TLS"}, "protocol: Input should be 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ({"ca_file": "/s/ca"}, "ca_file: protocol PLAINTEXT has no TLS; make it SSL or SASL_SSL, or remove ca_file"),
        ({"protocol": "SASL_PLAINTEXT", "sasl": SCRAM, "key_file": "/k", "certificate_file": "/c"}, "certificate_file: protocol"),
        ({"protocol": "SASL_SSL"}, "sasl: required with protocol SASL_SSL"),
        ({"protocol": "SSL", "sasl": SCRAM}, "sasl: protocol SSL has none; make it SASL_SSL, or remove sasl"),
        ({"protocol": "SSL", "certificate_file": "/c"}, "key_file: a client certificate needs certificate_file and key_file"),
        ({"protocol": "SSL", "key_file": "/k"}, "certificate_file: a client certificate needs"),
        ({"protocol": "SSL", "key_password_file": "/p"}, "key_password_file: there is no key_file"),
        ({"protocol": "SSL", "ca_file": "ca.pem"}, "ca_file: Value error, give an absolute path"),
        ({"protocol": "SASL_SSL", "sasl": SCRAM | {"mechanism": "GSSAPI"}}, "sasl: Input tag 'GSSAPI' found using 'mechanism'"),
        ({"protocol": "SASL_SSL", "sasl": {**SCRAM, "username": ""}}, "username: String should have at least 1 character"),
        (
            {"protocol": "SASL_SSL", "sasl": {"mechanism": "PLAIN", "username": "a", "password": "XYZZY"}},
            "password: write it to a file and give that file's path as password_file",
        ),
        ({"protocol": "SASL_SSL", "sasl": OAUTH | {"client_secret": "XYZZY"}}, "path as client_secret_file"),
        (
            {"protocol": "SASL_SSL", "sasl": OAUTH | {"token_endpoint_url": "https://a:XYZZY@b/"}},
            "no user or password in the URL",
        ),
        (
            {"protocol": "SASL_SSL", "sasl": OAUTH | {"token_endpoint_url": "XYZZY"}},
            "token_endpoint_url: Input should be a valid URL",
        ),
        ({"protocl": "XYZZY"}, "protocl: Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_what_does_not_fit_names_the_field_and_the_fix(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "kafka.yaml"
    file.write_text(str(settings))
    with pytest.raises(Refused) as refused:
        read_security(file)
    assert words in str(refused.value) and str(file) in str(refused.value)
    file.write_text(str({"clusters": {"main": {"bootstrap_servers": "a:1", "namespace": "kafka", "security": settings}}}))
    with pytest.raises(Refused, match=r"clusters\.main\.security") as refused:
        ConfiguredClusters.from_file(file)
    assert words in str(refused.value)
    for text in (str(refused.value), str(refused.value.__cause__)):
        assert "XYZZY" not in text
    with pytest.raises(ValidationError):
        Security.model_validate(settings)
