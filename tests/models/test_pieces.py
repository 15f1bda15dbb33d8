"""Plans in pieces: the same content gives the same lines, and nothing that is read at once grows with the plan."""

from datetime import UTC, datetime

import pytest

from kafka_runbooks.models import pieces
from kafka_runbooks.models.ledger import Ledger, Owner
from kafka_runbooks.models.moves import Move, MovePlan


def plan(moves: int) -> MovePlan:
    return MovePlan(
        cluster="c",
        kind="Rebalance",
        title="t",
        made_at="now",
        moves=tuple(
            Move(f"topic-{number}", 0, (1001, 1002), (1001, 1003), size_bytes=number, in_sync=(1001, 1002))
            for number in range(moves)
        ),
    )


@pytest.mark.parametrize("moves", [0, 1, pieces.PIECE, 2 * pieces.PIECE + 1])
def test_what_is_read_is_what_was_written(moves: int) -> None:
    written = list(pieces.lines(plan(moves)))
    assert len(written) == 1 + -(-moves // pieces.PIECE), "one line for the plan, and one for some moves"
    found = pieces.from_lines(MovePlan, written)
    assert found == plan(moves) and list(pieces.lines(found)) == written and found.sha256() == plan(moves).sha256()


def test_a_plan_in_one_line_is_read_too() -> None:
    assert pieces.from_lines(MovePlan, [plan(3).model_dump_json().encode()]) == plan(3)


def test_a_model_without_a_long_field_is_one_line() -> None:
    ledger = Ledger(owner=Owner(workflow_id="w", run_id="r", expires_at=datetime(2026, 1, 1, tzinfo=UTC)), cluster="c")
    (line,) = pieces.lines(ledger)
    assert pieces.from_lines(Ledger, [line]) == ledger


@pytest.mark.parametrize("lines", [[], [b""], [b"{}"], [b"{}", b"[1]"]])
def test_what_is_no_plan_is_a_value_error(lines: list[bytes]) -> None:
    with pytest.raises(ValueError, match="MovePlan"):
        pieces.from_lines(MovePlan, lines)


def test_the_hash_is_of_every_move_in_its_order_and_not_of_when_it_was_planned() -> None:
    whole = plan(2 * pieces.PIECE)
    assert whole.model_copy(update={"made_at": "later"}).sha256() == whole.sha256()
    first, second, *rest = whole.moves
    assert whole.model_copy(update={"moves": (second, first, *rest)}).sha256() != whole.sha256()
    assert whole.model_copy(update={"moves": whole.moves[:-1]}).sha256() != whole.sha256()


def test_brokers_that_are_read_are_shared_objects() -> None:
    """As objects of their own they are most of a large plan's memory."""
    first, second = pieces.from_lines(MovePlan, pieces.lines(plan(2))).moves
    assert first.before is first.in_sync is second.before and first.after is second.after
    assert first.before[0] is first.after[0]
