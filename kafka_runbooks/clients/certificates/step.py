"""step-ca, through a provisioner of the type JWK.

Whoever has such a provisioner's key may ask for certificates: each request carries a token that the key has signed, which names
subject and alternative names and can be used once. The server hands the key out to anybody, encrypted with a password.

By its default template a provisioner puts nothing but the common name into a subject, and gives certificates for at most a day:
docs/security.md says what it needs for brokers.
"""

import json
import secrets
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx
from cryptography.x509.oid import NameOID
from jwcrypto import jwa, jwe, jwk, jwt

from kafka_runbooks.clients.certificates import leaves
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest
from kafka_runbooks.clients.certificates.settings import StepSettings
from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.security.files import read_secret, tls_context

TIMEOUT_SECONDS = 10.0
TOKEN_SECONDS = 300
jwa.default_max_pbkdf2_iterations = 1_000_000
"""step encrypts with 600,000; the library's own limit is for messages of strangers."""


class StepIssuer:
    """`Issuer` by a step-ca server."""

    def __init__(self, settings: StepSettings) -> None:
        self._settings = settings
        self._url = str(settings.url).rstrip("/")

    def authorities(self) -> tuple[str, ...]:
        return tuple(map(leaves.pem, leaves.authorities(self._settings.ca_file)))

    def check(self, request: LeafRequest) -> None:
        leaves.authorities(self._settings.ca_file)
        leaves.extensions(request)
        _common_name(request)
        self._key()

    def issue(self, request: LeafRequest) -> Leaf:
        authorities, key = leaves.authorities(self._settings.ca_file), leaves.new_key()
        body = {"csr": leaves.signing_request(request, key), "ott": self._token(request)}
        if request.lifetime is not None:
            body["notAfter"] = f"{int(request.lifetime.total_seconds())}s"
        answer = self._ask("POST", "/1.0/sign", body)
        chain = leaves.certificates("".join(answer.get("certChain") or ()).encode(), f"the answer of {self._url}")
        return leaves.leaf(request, key, chain, authorities)

    def _token(self, request: LeafRequest) -> str:
        """Lets one certificate be issued, with this common name and these names."""
        key, now, name = self._key(), int(time.time()), _common_name(request)
        claims = {
            "iss": self._settings.provisioner,
            "aud": f"{self._url}/1.0/sign",
            "sub": name,
            "sans": list(request.names) or [name],
            "iat": now,
            "nbf": now - TOKEN_SECONDS,  # its clock may be behind
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(32),
        }
        token = jwt.JWT({"alg": key.get("alg", "ES256"), "kid": key.get("kid"), "typ": "JWT"}, claims)
        token.make_signed_token(key)
        return str(token.serialize())

    def _key(self) -> Any:
        """The provisioner's private key."""
        password = read_secret(self._settings.password_file, "password_file")
        encrypted = self._provisioner().get("encryptedKey")
        what = f"provisioner {self._settings.provisioner} of {self._url}"
        if not encrypted:
            raise Refused(f"{what}: the server doesn't hand out its encrypted key; add encryptedKey to the provisioner")
        try:
            opened = jwe.JWE()
            opened.deserialize(encrypted, jwk.JWK.from_password(password))
            return jwk.JWK.from_json(opened.payload)
        except (jwe.InvalidJWEData, jwe.InvalidJWEOperation):
            raise Refused(f"password_file {self._settings.password_file}: isn't the password of {what}") from None
        except (jwk.InvalidJWKValue, ValueError):
            raise Refused(f"{what}: its key is none that can sign tokens") from None

    def _provisioner(self) -> Mapping[str, Any]:
        cursor, seen = "", list[str]()
        while True:
            answer = self._ask("GET", f"/1.0/provisioners?limit=100&cursor={cursor}")
            for one in answer.get("provisioners") or ():
                if one.get("name") == self._settings.provisioner and one.get("type") == "JWK":
                    return dict(one)
                seen.append(f"{one.get('name')} ({one.get('type')})")
            cursor = str(answer.get("nextCursor") or "")
            if not cursor:
                known = ", ".join(seen) or "none"
                raise Refused(f"{self._url} has no provisioner {self._settings.provisioner} of the type JWK, but {known}")

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        verify = tls_context(self._settings.ca_file, "ca_file")
        try:
            answer = httpx.request(method, self._url + path, json=body, timeout=TIMEOUT_SECONDS, verify=verify, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if isinstance(found := _cause(error), ssl.SSLCertVerificationError):
                raise Refused(f"{self._url}: its certificate can't be verified by ca_file: {found.verify_message}") from None
            raise Unreachable(f"{self._url} doesn't answer: {error or type(error).__name__}") from None
        if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise Refused(f"{self._url} refuses with status {answer.status_code}: {_message(answer)}")
        if not answer.is_success:
            raise Unreachable(f"{self._url} answers with status {answer.status_code}: {_message(answer)}")
        try:
            return dict(answer.json())
        except (ValueError, TypeError):
            raise Unreachable(f"{self._url} answers with something else than step-ca: is this its address?") from None


def _common_name(request: LeafRequest) -> str:
    found = leaves.subject(request).get_attributes_for_oid(NameOID.COMMON_NAME)
    if not found:
        raise Refused(f"subject {request.subject!r}: has no common name (CN), which step-ca needs")
    return str(found[0].value)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # one of them isn't None
    return error


def _message(answer: httpx.Response) -> str:
    try:
        return str(json.loads(answer.content)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return "(no reason given)"
