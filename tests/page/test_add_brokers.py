"""Another broker that is lost during a run is added on the page, behind a gate that a second person may have to open."""

from structlog.testing import capture_logs

from kafka_runbooks.models.operator import Override
from tests.page.conftest import URL, Browse, form
from tests.page.test_presses import shows
from tests.temporal_env import Bench
from tests.workflows.test_many_brokers import losing_another
from tests.workflows.test_replace_broker import SLOW, lose, until
from workflows.replace_broker import ReplaceBroker


async def test_another_lost_broker_is_added(runbooks: Bench, page: Browse) -> None:
    world = runbooks.world
    lose(world)
    world.add_node("spare-a", "zone-a", "events")
    handle = await runbooks.start(**SLOW)
    run, alice, bob = f"/runs/{handle.id}", page("alice"), page("bob")
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    shown = await shows(alice, run, "More brokers are lost")
    mine = form(shown, "Add:") | {"reason": "x", "broker_ids": "1002"}
    assert (await bob.post(run, mine, Origin=URL)).status_code == 403, "alice's form"
    for wrong, words in (("", "broker_ids"), ("1002 zwei", "broker_ids"), ("1001", "brings all of them back already")):
        refused = await alice.press(run, "Add:", reason="INC-2", broker_ids=wrong)
        assert refused.status_code == 409 and words in refused.text, wrong
    losing_another(world)
    runbooks.clusters.want_second_person()
    with capture_logs() as audit:
        added = await alice.press(run, "Add:", reason="INC-2", broker_ids="1002,", node_is_gone="true")
    assert added.status_code == 303
    assert [(e["who"], e["what"], e["outcome"], e["reason"]) for e in audit if e["event"] == "press"] == [
        ("alice", "add_brokers", "recorded", "INC-2")
    ]
    await shows(alice, run, "It waits for you", "alice adds brokers", "1002")
    own = await alice.press(run, "Approve", reason="me again")
    assert own.status_code == 409 and "wants a second person" in own.text
    assert (await bob.press(run, "Approve", reason="seen")).status_code == 303
    await until(handle, lambda status: len(status.brokers) == 2)
    world.link_bytes_per_s = 10**9
    await handle.execute_update(ReplaceBroker.set_throttle, Override(rate_bytes_per_s=10**9, by="carol", reason="quick"))
    end = await shows(alice, run, "Done", "add brokers by <b>alice</b>", "brokers 1001, 1002 are back")
    assert "Add:" not in end.text
