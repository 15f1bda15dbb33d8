"""Who gets in, and what is turned away: forged and expired links, headers and forms that others made, markup in values."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from kafka_runbooks import links
from kafka_runbooks.page import app
from tests.page.conftest import KEY, PROXY_SECRET, URL, Browse, browse, connected, form, link, settings, token
from tests.page.test_presses import lose, runs_of, shows
from tests.temporal_env import Bench

EVIL = "https://evil.example.org"


def needs_nothing_forbidden(text: str) -> None:
    """What the policy forbids isn't in a page that has everything."""
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|https?://(?!www\.w3\.org)", text)
    scripts = re.findall(r"<script[^>]*>", text)
    assert scripts and all(re.match(r'<script src="/static/[\w.-]+"', tag) for tag in scripts)


async def test_links_that_are_forged_expired_or_for_another_cluster(runbooks: Bench, page: Browse) -> None:
    """None of them shows anything or starts anything, whatever form is sent with it."""
    lose(runbooks.world)
    good = link(runbooks.cluster)
    shown = await page().get(f"/links/{token(good)}")
    needs_nothing_forbidden(shown.text)
    real = form(shown, "Start")
    mine = token(good)
    cases = {
        mine[:-2] + ("AA" if not mine.endswith("AA") else "BB"): (403, "not signed by us"),
        links.sign(good, ["another key, long enough to be one of them"]): (403, "not signed by us"),
        token(link(runbooks.cluster, validity=timedelta(hours=-1))): (410, "has expired at"),
        token(link("production")): (403, "this page isn&#39;t"),
        "x" * 9000: (422, "String should have at most"),
    }
    for one, (status, words) in cases.items():
        for answer in (await page().get(f"/links/{one}"), await page().post(f"/links/{one}", real)):
            assert answer.status_code in (status, 403), one
        assert (seen := await page().get(f"/links/{one}")).status_code == status and words in seen.text
        assert "<button" not in seen.text
    assert await runs_of(runbooks) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-User": "alice"},
        {"X-Forwarded-User": "alice", "X-Proxy-Secret": ""},
        {"X-Forwarded-User": "alice", "X-Proxy-Secret": "guessed"},
        {"X-Forwarded-User": "alice", "X-Proxy-Secret": PROXY_SECRET[:-1]},
        {"X-Forwarded-User": "alice", "X-Proxy-Secret": "ÿ"},
        {"X-Proxy-Secret": PROXY_SECRET},
        {"X-Proxy-Secret": PROXY_SECRET, "X-Forwarded-User": " "},
        {"X-Proxy-Secret": PROXY_SECRET, "X-Forwarded-User": "a" * 201},
        {"X-Proxy-Secret": PROXY_SECRET, "X-Forwarded-User": "alice\x1b[2J"},
    ],
    ids=lambda headers: "+".join(f"{name}={value[:9]!r}" for name, value in headers.items()) or "none",
)
async def test_a_name_without_the_proxy_s_secret_is_nobody_s(nowhere: Browse, headers: dict[str, str]) -> None:
    stranger = nowhere(None)
    stranger.headers = {name: value.encode("latin-1") for name, value in headers.items()}  # type: ignore[misc]
    for path in ("/", f"/links/{token(link('lab'))}", "/runs/lab/replace-broker/1", "/live/lab/replace-broker/1"):
        answer = await stranger.get(path)
        assert answer.status_code == 401 and "alice" not in answer.text
    for path in (f"/links/{token(link('lab'))}", "/runs/lab/replace-broker/1"):
        assert (await stranger.post(path, {"form_token": "x", "decision": "abort"})).status_code == 401


async def test_two_names_are_none(nowhere: Browse) -> None:
    """The proxy adds its header to one that somebody has sent: neither may win."""
    both = [("X-Proxy-Secret", PROXY_SECRET), ("X-Forwarded-User", "admin"), ("X-Forwarded-User", "alice")]
    assert (await nowhere(None).http.get("/", headers=both)).status_code == 401
    secrets = [("X-Proxy-Secret", "guess"), ("X-Proxy-Secret", PROXY_SECRET), ("X-Forwarded-User", "alice")]
    assert (await nowhere(None).http.get("/", headers=secrets)).status_code == 401


async def test_presses_that_this_page_did_not_make(runbooks: Bench, page: Browse) -> None:
    """From another site, without a token, with one of another person, of another form, or of another key."""
    lose(runbooks.world)
    one = link(runbooks.cluster)
    path, run = f"/links/{token(one)}", f"/runs/{one.workflow_id}"
    alice, eve = page("alice"), page("eve")
    good, hers = form(await alice.get(path), "Start"), form(await eve.get(path), "Start")
    forged: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({**good, "form_token": "x"}, {}),
        ({**good, "form_token": hers["form_token"]}, {}),
        ({**good, "form_token": good["form_token"][:-3] + "abc"}, {}),
        (good, {"Origin": EVIL}),
        (good, {"Origin": "null"}),
        (good, {"Sec-Fetch-Site": "cross-site"}),
        (good, {"Sec-Fetch-Site": "same-site"}),
    ]
    for data, headers in forged:
        answer = await alice.post(path, data, **headers)
        assert answer.status_code == 403 and "Nothing was done" in answer.text, (data, headers)
    assert (await alice.post(path, {})).status_code == 422
    assert await runs_of(runbooks) == []
    await alice.post(path, good, **{"Origin": URL, "Sec-Fetch-Site": "same-origin"})
    await shows(alice, run, "It waits for you")
    for data in ({**good, "decision": "reject", "reason": "x"}, {"decision": "reject", "reason": "x", "form_token": "y"}):
        assert (await alice.post(run, data)).status_code == 403
    assert (await alice.get(f"{run}?decision=reject&reason=x&form_token={good['form_token']}")).status_code == 200
    await shows(alice, run, "It waits for you")
    await alice.press(run, "Reject", reason="a test")


MARKUP = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"


async def test_markup_in_values_is_text(runbooks: Bench, page: Browse) -> None:
    """In a link, a name, a reason, an ID and a fault: shown as it is written, and never run."""
    lose(runbooks.world)
    one = link(runbooks.cluster, ticket=MARKUP).model_copy(update={"made_by": MARKUP})
    mallory = page(MARKUP)
    seen = [await mallory.get(f"/links/{token(one)}"), await mallory.get(f"/?cluster={'%3Cscript%3Ealert(1)%3C/script%3E'}")]
    await mallory.press(f"/links/{token(one)}", "Start")
    run = f"/runs/{one.workflow_id}"
    await shows(mallory, run, "It waits for you")
    await mallory.press(run, "Pause", reason=MARKUP)
    seen += [await shows(mallory, run, "pause by"), await mallory.get(f"/runs/{MARKUP}"), await mallory.get("/live/<script>")]
    await mallory.press(run, "Resume", reason="on")
    seen.append(await mallory.press(run, "Reject", reason="x" * 500))
    await mallory.press(run, "Reject", reason=MARKUP)
    seen.append(await shows(mallory, run, "rejected by"))
    assert any("&lt;script&gt;alert(1)" in answer.text for answer in seen)
    for answer in seen:
        assert "<script>" not in answer.text and "<img" not in answer.text
    assert any("{{ 7*7 }}" in answer.text for answer in seen)


async def test_what_browsers_are_told(nowhere: Browse) -> None:
    for path in ("/", "/healthz", "/static/page.css", "/nope", "/links/x"):
        headers = (await nowhere().get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and "no-store" in headers["cache-control"]


async def test_runs_that_are_none_of_this_page(runbooks: Bench, page: Browse, tmp_path: Path) -> None:
    """Of another cluster, of another kind of workflow, and none at all."""
    lose(runbooks.world)
    handle = await runbooks.start(wait_for_approval=True)
    await shows(page(), f"/runs/{handle.id}", "It waits for you")
    other = app.create(settings(tmp_path, page_clusters={"production": "q"}), connected(runbooks.client))
    for path in (f"/runs/{handle.id}", f"/live/{handle.id}"):
        assert (await browse(other)().get(path)).status_code == 404
    for workflow_id in (f"kafka-permit/{runbooks.cluster}", f"{runbooks.cluster}/nothing", "a b/ü", "x" * 999):
        assert (await page().get(f"/runs/{workflow_id}")).status_code == 404
    await page().press(f"/runs/{handle.id}", "Reject", reason="a test")


async def test_secrets_are_read_anew_and_never_shown(tmp_path: Path, nowhere: Browse) -> None:
    alice = nowhere()
    assert (await alice.get("/")).status_code == 503
    (tmp_path / "proxy").write_text("rotated")
    assert (await alice.get("/")).status_code == 401
    alice.headers["X-Proxy-Secret"] = "rotated"
    (tmp_path / "keys").write_text("short")
    with capture_logs() as logs:
        answer = await alice.get(f"/links/{token(link('lab'))}")
    assert answer.status_code == 500
    for text in (answer.text, str(logs)):
        assert KEY not in text and PROXY_SECRET not in text and "Traceback" not in text


async def test_a_body_that_is_too_long(nowhere: Browse) -> None:
    async def endless() -> Any:
        for _ in range(40):
            yield b"x" * 100_000

    headers = {**nowhere().headers, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await nowhere().http.post(f"/links/{token(link('lab'))}", content=endless(), headers=headers)
    assert answer.status_code == 413
