"""A link and the run that it leads to, on a real Temporal server: looking, starting once, deciding, and who may."""

import asyncio
import re

import httpx
from structlog.testing import capture_logs

from kafka_runbooks.models.operator import OperatorAction
from tests.fakes.world import World
from tests.page.conftest import URL, Browse, Browser, form, link, token
from tests.temporal_env import Bench

SECONDS = 20.0


def lose(world: World) -> None:
    pod = world.pod_of(1001)
    assert pod is not None and pod.node is not None
    world.lose_node(pod.node)
    world.add_node("spare", "zone-a", "events")


async def shows(browser: Browser, path: str, *words: str) -> httpx.Response:
    """The page at `path`, once it has these words."""
    page = await browser.get(path)
    async with asyncio.timeout(SECONDS):
        while not all(word in page.text for word in words):
            await asyncio.sleep(0.1)
            page = await browser.get(path)
    return page


async def runs_of(bench: Bench) -> list[str]:
    """The runs of the cluster, by their states in the server itself."""
    return [
        f"{run.id} {run.status.name if run.status else ''}"
        async for run in bench.client.list_workflows(
            f"WorkflowType = 'ReplaceBroker' AND WorkflowId STARTS_WITH '{bench.cluster}/'"
        )
    ]


async def test_a_link_shows_all_and_changes_nothing(runbooks: Bench, page: Browse) -> None:
    world = runbooks.world
    refused = await page().get(f"/links/{token(link(runbooks.cluster, node_is_gone=False))}")  # the broker is up
    assert "Remedy: " in refused.text and "start like this" in refused.text and "<button" not in refused.text
    without = await page().get(f"/links/{token(link(runbooks.cluster, 'ClearLeftovers'))}")
    assert "acts on what it finds" in without.text and "Start clear-leftovers" in without.text
    lose(world)
    found = await page().get(f"/links/{token(link(runbooks.cluster))}")
    assert found.status_code == 200
    for words in (
        "replace broker 1001",
        "720.0 MB",
        "takes about",
        "if broker 1002 fails too",
        "No reason against starting it",
        "You are <b>alice",
    ):
        assert words in found.text
    assert "<svg" in found.text and "lost, 24 replicas" in found.text
    assert len(re.findall(r"<button", found.text)) == 1
    assert await runs_of(runbooks) == [] and not world.records


async def test_two_people_who_press_at_once_land_on_one_run(runbooks: Bench, page: Browse) -> None:
    lose(runbooks.world)
    path = f"/links/{token(one := link(runbooks.cluster))}"
    alice, bob = page("alice"), page("bob")
    forms = [form(await who.get(path), "Start replace-broker") for who in (alice, bob)]
    with capture_logs() as audit:
        pressed = await asyncio.gather(
            alice.post(path, forms[0]), alice.post(path, forms[0]), bob.post(path, forms[1], Origin=URL), bob.post(path, forms[1])
        )
    assert {(answer.status_code, answer.headers["location"]) for answer in pressed} == {(303, f"/runs/{one.workflow_id}")}
    presses = [entry for entry in audit if entry["event"] == "press"]
    assert sorted(entry["outcome"] for entry in presses) == ["joined", "joined", "joined", "started"]
    assert {entry["who"] for entry in presses} == {"alice", "bob"} and {entry["run"] for entry in presses} == {one.workflow_id}
    assert token(one) not in str(audit)
    await shows(alice, f"/runs/{one.workflow_id}", "It waits for you")
    assert "It is in progress" in (await bob.get(path)).text
    await bob.press(f"/runs/{one.workflow_id}", "Reject", reason="a test")


async def test_the_way_of_one_incident(runbooks: Bench, page: Browse) -> None:
    """Start, read, pause, resume, approve, watch, and see how it ended; then the link is spent."""
    lose(runbooks.world)
    one = link(runbooks.cluster)
    path, run = f"/links/{token(one)}", f"/runs/{one.workflow_id}"
    alice = page()
    assert (await alice.press(path, "Start replace-broker")).headers["location"] == run
    gate = await shows(alice, run, "It waits for you")
    assert "720.0 MB" in gate.text and "plan_sha256" in gate.text and "The run in Temporal" in gate.text
    assert (await alice.press(run, "Pause", reason="one moment")).status_code == 303
    await shows(alice, run, "paused", "one moment")
    refused = await alice.press(run, "Resume", decision="pause", reason="again")
    assert refused.status_code == 409 and "it is paused already" in refused.text
    await alice.press(run, "Resume", reason="go on")
    missing = await alice.press(run, "Approve", reason="")
    assert missing.status_code == 409 and "reason" in missing.text
    other = await alice.press(run, "Approve", reason="ok", plan_sha256="0" * 64)
    assert other.status_code == 409 and "another hash" in other.text
    with capture_logs() as audit:
        assert (await alice.press(run, "Approve", reason="INC-1")).status_code == 303
    assert [(e["who"], e["what"], e["run"], e["reason"]) for e in audit if e["event"] == "press"] == [
        ("alice", "approve", one.workflow_id, "INC-1")
    ]
    end = await shows(alice, run, "Done", "approve by <b>alice</b>")
    assert "<button" not in end.text and "hx-trigger" not in end.text
    spent = await alice.get(path)
    assert "This link has had its run" in spent.text and "<button" not in spent.text


async def test_a_risk_is_taken_by_name_at_the_gate(runbooks: Bench, page: Browse) -> None:
    runbooks.world.add_topic("single", 1, (1001,), replication_factor=1, minimum_in_sync=1)
    one = link(runbooks.cluster, "RollingRestart", reason="a test", node_ids=[1001])
    path, run, risk = f"/links/{token(one)}", f"/runs/{one.workflow_id}", "no-spare-replica:single"
    alice = page()
    assert "whoever approves may acknowledge it" in (await alice.get(path)).text
    await alice.press(path, "Start rolling-restart")
    gate = await shows(alice, run, "It waits for you")
    assert f"I take this risk: {risk}" in gate.text
    untaken = await alice.press(run, "Approve", reason="ok", risk=[])
    assert untaken.status_code == 409 and risk in untaken.text
    assert (await alice.press(run, "Approve", reason="ok", risk=[risk])).status_code == 303
    await shows(alice, run, "Done")


async def test_a_link_that_is_sent_again_after_its_run_starts_nothing(runbooks: Bench, page: Browse) -> None:
    """A recorded press, replayed; and one that has seen how the run ended, which may."""
    lose(runbooks.world)
    one = link(runbooks.cluster)
    path, run = f"/links/{token(one)}", f"/runs/{one.workflow_id}"
    alice = page()
    recorded = form(await alice.get(path), "Start")
    await alice.post(path, recorded)
    await shows(alice, run, "It waits for you")
    await alice.press(run, "Reject", reason="not now")
    await shows(alice, run, "rejected by alice")
    first = (await runbooks.client.get_workflow_handle(one.workflow_id).describe()).run_id
    assert (await alice.post(path, recorded)).headers["location"] == run
    assert (await runbooks.client.get_workflow_handle(one.workflow_id).describe()).run_id == first
    again = await alice.press(path, "Start it again")
    assert again.headers["location"] == run
    second = (await runbooks.client.get_workflow_handle(one.workflow_id).describe()).run_id
    assert second != first
    assert (await alice.post(path, {**recorded, "after": first})).status_code == 303
    assert (await runbooks.client.get_workflow_handle(one.workflow_id).describe()).run_id == second
    await shows(alice, run, "It waits for you")
    await alice.press(run, "Reject", reason="a test")


async def test_another_link_about_the_same_leads_to_the_run_in_progress(runbooks: Bench, page: Browse) -> None:
    lose(runbooks.world)
    one = link(runbooks.cluster)
    later = one.model_copy(update={"at": one.at.replace(year=2027)})
    alice = page()
    await alice.press(f"/links/{token(one)}", "Start")
    listed = await shows(alice, "/", one.workflow_id)
    assert f'href="/runs/{one.workflow_id}"' in listed.text and f'href="/?cluster={runbooks.cluster}"' in listed.text
    assert "No runs found" in (await alice.get("/?cluster=other")).text
    await shows(page("bob"), f"/links/{token(later)}", "It is in progress", one.workflow_id)
    other = link(runbooks.cluster, broker_id=1002)
    assert "It is in progress" not in (await alice.get(f"/links/{token(other)}")).text
    await shows(alice, f"/runs/{one.workflow_id}", "It waits for you")
    await alice.press(f"/runs/{one.workflow_id}", "Reject", reason="a test")


async def test_two_persons_where_the_cluster_wants_them(runbooks: Bench, page: Browse) -> None:
    """Who pressed may not approve, however he is written; somebody else may."""
    lose(runbooks.world)
    runbooks.clusters.want_second_person()
    one = link(runbooks.cluster)
    run = f"/runs/{one.workflow_id}"
    await page("alice").press(f"/links/{token(one)}", "Start")
    await shows(page("alice"), run, "It waits for you")
    for name in ("alice", "Alice"):
        refused = await page(name).press(run, "Approve", reason="me again", by="bob")
        assert refused.status_code == 409 and "wants a second person" in refused.text
    assert (await page("bob").press(run, "Approve", reason="I have looked")).status_code == 303
    await shows(page("alice"), run, "Done", "approve by <b>bob</b>")


async def test_the_part_that_changes(runbooks: Bench, page: Browse) -> None:
    """It comes alone, and has the page loaded again only where something else may be decided."""
    lose(runbooks.world)
    one = link(runbooks.cluster)
    alice = page()
    await alice.press(f"/links/{token(one)}", "Start")
    whole = await shows(alice, f"/runs/{one.workflow_id}", "It waits for you")
    poll = re.search(r'hx-get="([^"]+)"', whole.text)
    assert poll is not None
    part = await alice.get(poll[1])
    assert part.status_code == 200 and "<html" not in part.text and "HX-Refresh" not in part.headers
    await runbooks.client.get_workflow_handle(one.workflow_id).execute_update("pause", OperatorAction(by="bob", reason="wait"))
    assert (await alice.get(poll[1])).headers["HX-Refresh"] == "true"
    await alice.press(f"/runs/{one.workflow_id}", "Resume", reason="on")
    await alice.press(f"/runs/{one.workflow_id}", "Abort", reason="a test")
    await shows(alice, f"/runs/{one.workflow_id}", "aborted")
