"""The schema that editors use takes what we take and refuses what we refuse, as far as one document alone can tell."""

import json
from typing import Any

import jsonschema_rs
import pytest

from kafka_runbooks.topics import schema
from kafka_runbooks.topics.reading import read
from tests.topics import cases

SCHEMA = schema.topics()

DOCUMENTS: dict[str, tuple[str, bool]] = {
    **{f"topic: {name}": (cases.document(topic), True) for name, topic in cases.TAKEN.items()},
    **{f"topic: {name}": (cases.document(topic), False) for name, topic in cases.REFUSED.items()},
    **{f"map: {name}": (cases.document(entry=entry), True) for name, entry in cases.TAKEN_MAPS.items()},
    **{f"map: {name}": (cases.document(entry=entry), False) for name, entry in cases.REFUSED_MAPS.items()},
    "an empty list": ('{"topics": []}', True),
    "nothing": ("{}", False),
    "another field": ('{"topics": [], "topic": 1}', False),
    "topics as an object": ('{"topics": {"orders": {}}}', False),
}
ONLY_WE_KNOW = {"topic: a name twice"}
"""That a name is declared twice is found by the check, wherever both are."""


@pytest.mark.parametrize("case", DOCUMENTS)
def test_the_schema_says_what_we_say(case: str) -> None:
    text, is_taken = DOCUMENTS[case]
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert validator.is_valid(json.loads(text)) is is_taken, "the schema"
    if case not in ONLY_WE_KNOW:
        assert (not read(text, "file").faults) is is_taken, read(text, "file").faults


def test_it_is_a_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    described: dict[str, Any] = SCHEMA["$defs"]["TopicDefinition"]["properties"]
    assert all("description" in field for field in described.values()), "editors show them"
