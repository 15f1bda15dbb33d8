"""The page's interface, fuzzed from its own description: no defect, no undocumented answer, and nothing is started."""

import asyncio
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import status_code_conformance
from structlog.testing import capture_logs

from kafka_runbooks.page import app
from tests.page.conftest import HOOK_TOKEN, PROXY_SECRET, connected, settings
from tests.page.serving import served
from tests.page.test_presses import runs_of
from tests.temporal_env import Bench

EXAMPLES = 8
"""Of each operation."""


async def test_anything_that_can_be_sent(runbooks: Bench, tmp_path: Path) -> None:
    made = app.create(
        settings(tmp_path, page_clusters={runbooks.cluster: runbooks.task_queue}, slack_signing_secret_file=None),
        connected(runbooks.client),
    )
    described = made.openapi()
    known = {"X-Proxy-Secret": PROXY_SECRET, "X-Forwarded-User": "alice", "Authorization": f"Bearer {HOOK_TOKEN}"}
    async with served(made) as address:
        with capture_logs() as logs:
            count = await asyncio.to_thread(fuzz, described, address, known)
    assert count >= 8 * EXAMPLES / 2
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    assert await runs_of(runbooks) == []


def fuzz(described: dict[str, Any], address: str, headers: dict[str, str]) -> int:
    """How many requests were sent."""
    schema = schemathesis.openapi.from_dict(described)
    sent = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @examples(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def one(case: Any) -> None:
            nonlocal sent
            sent += 1
            answer = case.call(base_url=address, headers=headers, allow_redirects=False)
            case.validate_response(answer, checks=[not_a_server_error, status_code_conformance])
            assert "Traceback" not in answer.text

        one()
    return sent
