"""A drained node is handed back on the page, by whoever has seen that it is held."""

from structlog.testing import capture_logs

from tests.page.conftest import URL, Browse, form, in_a_hurry, page, runbooks, server
from tests.page.test_presses import shows
from tests.temporal_env import Bench
from tests.workflows.test_drain import A, B, is_held, world
from tests.workflows.test_replace_broker import until

__all__ = ["in_a_hurry", "page", "runbooks", "server", "world"]
CHECKS = "node-checks-a"


async def test_held_nodes_are_handed_back_one_by_one_or_together(runbooks: Bench, page: Browse) -> None:
    handle = await runbooks.start_runbook("Drain", nodes=[A, CHECKS], reason="new kernel", wait_for_approval=False)
    run, alice, bob = f"/runs/{handle.id}", page("alice"), page("bob")
    held = await shows(alice, run, "These nodes are yours", "Hand back")
    assert f'name="node" value="{A}" checked' in held.text and f'name="node" value="{CHECKS}" checked' in held.text
    none = await alice.press(run, "Hand back", reason="done")
    assert none.status_code == 409 and "name at least one" in none.text
    unheld = await alice.press(run, "Hand back", reason="done", node=[B])
    assert unheld.status_code == 409 and f"{B} is not held by this run" in unheld.text
    mine = form(held, "Hand back") | {"reason": "x", "node": [A]}
    assert (await bob.post(run, mine, Origin=URL)).status_code == 403, "alice's form"
    assert (await alice.post(run, mine, Origin="https://evil.example.org")).status_code == 403
    with capture_logs() as audit:
        assert (await alice.press(run, "Hand back", reason="new kernel runs", node=[CHECKS])).status_code == 303
    assert [(e["who"], e["what"], e["outcome"], e["run"], e["reason"]) for e in audit if e["event"] == "press"] == [
        ("alice", "uncordon", "recorded", handle.id, "new kernel runs")
    ]
    one = await shows(alice, run, "This node is yours", f'value="{A}"')
    assert f'value="{CHECKS}"' not in one.text and runbooks.world.nodes[A].is_cordoned
    await until(handle, lambda status: is_held(status) and CHECKS not in str(status.waiting))
    stale = await bob.press(run, "Hand back", reason="a page that is a round behind", node=[CHECKS])
    assert stale.status_code == 409 and f"{CHECKS} is not held by this run" in stale.text
    assert (await bob.press(run, "Hand back", reason="done", node=[A])).status_code == 303
    end = await shows(alice, run, "Done", "uncordon by <b>alice</b>", "uncordon by <b>bob</b>")
    assert "Hand back" not in end.text and not runbooks.world.nodes[A].is_cordoned


async def test_before_a_node_is_held_nothing_can_be_handed_back(runbooks: Bench, page: Browse) -> None:
    handle = await runbooks.start_runbook("Drain", nodes=[A], reason="new kernel")
    run, alice = f"/runs/{handle.id}", page("alice")
    gate = await shows(alice, run, "It waits for you")
    assert "Hand back" not in gate.text and "Add them" not in gate.text
    early = await alice.press(run, "Pause", decision="uncordon", reason="x", node=[A])
    assert early.status_code == 409 and "no node is held now" in early.text
    before = (await alice.get(run)).text
    await alice.press(run, "Approve", reason="ok")
    await until(handle, is_held)
    poll = before.split('hx-get="')[1].split('"')[0]
    assert (await alice.get(poll)).headers["HX-Refresh"] == "true", "the page has the button at once"
    await alice.press(run, "Hand back", reason="done", node=[A])
    await shows(alice, run, "Done")
