"""`security: {…}` of a cluster's entry in the clusters file, and the whole of a `--kafka-config` file.

Secrets are files, never values: a value would be shown wherever settings are.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kafka_runbooks.clients.errors import Refused

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path: what a relative one means depends on where the process was started")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class SecretsAsFiles(BaseModel):
    """Values stay out of error messages: a secret pasted into the wrong field would end up in a log."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _files_only(cls, data: Any) -> Any:
        for field in cls.model_fields if isinstance(data, dict) else ():
            value = field.removesuffix("_file")
            if value != field and value in data:
                raise ValueError(f"{value}: write it to a file and give that file's path as {field}")
        return data


class PasswordSasl(SecretsAsFiles):
    """A user with a password."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: str = Field(min_length=1)
    password_file: AbsolutePath


def _without_user(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password:
        raise ValueError("no user or password in the URL: client_id and client_secret_file are for them")
    return url


class OAuthSasl(SecretsAsFiles):
    """A token of an OAuth server, by the client-credentials grant (KIP-768)."""

    mechanism: Literal["OAUTHBEARER"]
    token_endpoint_url: Annotated[AnyHttpUrl, AfterValidator(_without_user)]
    client_id: str = Field(min_length=1)
    client_secret_file: AbsolutePath
    scope: str | None = None
    ca_file: AbsolutePath | None = None
    """The CAs of the token endpoint, in PEM; by default those of the system."""


class TlsSettings(SecretsAsFiles):
    """The files of a TLS client, in PEM."""

    ca_file: AbsolutePath | None = None
    """The CAs that servers' certificates are verified by; by default those of the system."""
    certificate_file: AbsolutePath | None = None
    """The client certificate, followed by intermediate CAs if there are any."""
    key_file: AbsolutePath | None = None
    key_password_file: AbsolutePath | None = None

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            missing = "key_file" if self.key_file is None else "certificate_file"
            raise ValueError(f"{missing}: a client certificate needs certificate_file and key_file")
        if self.key_password_file is not None and self.key_file is None:
            raise ValueError("key_password_file: there is no key_file that it could decrypt")
        return self


class Security(TlsSettings):
    """How to connect to a cluster's brokers. Files are PEM; they are read again when they change."""

    protocol: Protocol = "PLAINTEXT"
    """Kafka's `security.protocol`."""
    sasl: Annotated[PasswordSasl | OAuthSasl, Field(discriminator="mechanism")] | None = None

    @property
    def has_tls(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @model_validator(mode="after")
    def _fits(self) -> "Security":
        if self.protocol.startswith("SASL_") and self.sasl is None:
            raise ValueError(f"sasl: required with protocol {self.protocol}")
        if self.sasl is not None and not self.protocol.startswith("SASL_"):
            raise ValueError(f"sasl: protocol {self.protocol} has none; make it SASL_SSL, or remove sasl")
        for field in ("ca_file", "certificate_file", "key_file", "key_password_file"):
            if getattr(self, field) is not None and not self.has_tls:
                raise ValueError(f"{field}: protocol {self.protocol} has no TLS; make it SSL or SASL_SSL, or remove {field}")
        return self


def read_security(path: Path) -> Security:
    """Read a file with the fields of `Security`, in YAML.

    Raises:
        Refused: it can't be read, or a field is wrong; the message names the field.
    """
    return read_yaml(path, Security, "Kafka configuration")


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model], name: str) -> Model:
    """Read a settings file.

    Args:
        path: where it is.
        model: what is in it.
        name: what messages call it.

    Raises:
        Refused: it can't be read, or a field is wrong; the message names the field.
    """
    try:
        return model.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{name} {path}: can't be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise Refused(f"{name} {path}: isn't YAML: {getattr(error, 'problem', 'unreadable')}{where}") from None
    except ValidationError as error:
        raise Refused(f"{name} {path}: {faults(error)}") from error


def faults(error: ValidationError) -> str:
    """Every fault with its field. The values are left out: one may be a secret in the wrong place."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors())
