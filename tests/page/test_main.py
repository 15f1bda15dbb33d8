"""`kafka-runbooks-page` as a process: bad settings end it at once, and SIGTERM in order."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import structlog

from kafka_runbooks.page import main
from tests.page.conftest import KEY, PROXY_SECRET, link, token

COMMAND = str(Path(sys.executable).parent / "kafka-runbooks-page")


def environment(folder: Path, **fields: str) -> dict[str, str]:
    (folder / "keys").write_text(KEY)
    (folder / "proxy").write_text(PROXY_SECRET)
    named = {"LINK_KEYS_FILE": str(folder / "keys"), "PROXY_SECRET_FILE": str(folder / "proxy"), "PAGE_URL": "http://127.0.0.1"}
    return {
        **os.environ,
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        **{f"KAFKA_RUNBOOKS_{name}": text for name, text in {**named, **fields}.items()},
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"PAGE_URL": "runbooks.example.org"}, "error: KAFKA_RUNBOOKS_PAGE_URL: give scheme and host"),
        ({"LINK_KEYS_FILE": "/does/not/exist"}, "error: KAFKA_RUNBOOKS_LINK_KEYS_FILE: can't read"),
        ({"OIDC_ISSUER": "https://id.example.org"}, "error: set exactly one of"),
        ({"WEBHOOK_TOKEN_FILE": "/x"}, "error: a webhook also needs KAFKA_RUNBOOKS_WEBHOOK_POST_URL_FILE"),
    ],
)
def test_settings_that_cannot_be_served(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fields: dict[str, str],
    says: str,
) -> None:
    for name, value in environment(tmp_path, **fields).items():
        monkeypatch.setenv(name, value)
    try:
        with pytest.raises(SystemExit) as end:
            main.main()
    finally:
        structlog.reset_defaults()
    assert end.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.server
def test_it_serves_and_ends_in_order(tmp_path: Path) -> None:
    """Temporal can't be reached: it serves all the same, and what it writes has no link in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    settings = environment(tmp_path, PAGE_ADDRESS="127.0.0.1", PAGE_PORT=port)
    with subprocess.Popen([COMMAND], env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        one = token(link("lab"))
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/links/{one}", timeout=30)
        raised.value.close()
        assert raised.value.code == 401
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert one not in output
    (line,) = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert (line["event"], line["level"]) == ("refused", "warning")
