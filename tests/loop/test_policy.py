"""What follows from what was seen: each rule of the loop in one scene, without a store, a clock or a mock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from loop_scenes import DRIFT, HARM, RETRAIN, STUCK, TOLD, past, seen, trial

from trimtab import canon
from trimtab.errors import Malformed
from trimtab.loop.model import Decision, Policy, Seen
from trimtab.loop.policy import again, decide, stale


def policy(**fields: Any) -> Policy:
    """A policy that retrains, and what is said."""
    return msgspec.structs.replace(RETRAIN, **fields)


def told(decision: Decision) -> tuple[str, str]:
    """What is decided, and about what."""
    return decision.action, decision.subject


def test_where_all_is_well_nothing_is_done() -> None:
    assert decide(RETRAIN, seen()).action == "none"
    assert decide(RETRAIN, seen(champion=None)).reason == "nothing serves at 'production' of risk"


def test_an_incident_is_told_first_whatever_the_policy_allows() -> None:
    for on_drift in ("notify", "propose", "retrain"):
        decision = decide(Policy(on_drift=on_drift), seen(incident=DRIFT))
        assert told(decision) == ("notify", "a-drift")
        assert decision.reason == "rate rose: mean +0.5 sd"


@pytest.mark.parametrize(("on_drift", "action"), [("notify", "none"), ("propose", "propose"), ("retrain", "retrain")])
def test_the_policy_says_what_follows_from_drift(on_drift: Any, action: str) -> None:
    assert decide(Policy(on_drift=on_drift), seen(incident=DRIFT, past=(TOLD,))).action == action


def test_a_proposal_is_made_once() -> None:
    made = (TOLD, past("propose", "a-drift"))
    assert decide(Policy(on_drift="propose"), seen(incident=DRIFT, past=made)).action != "propose"


def test_broken_data_are_refused_in_words_and_never_learned_from() -> None:
    decision = decide(RETRAIN, seen(incident=STUCK))
    assert told(decision) == ("refuse", "a-stuck")
    assert decision.reason == ("no retrain: the data look broken, temp stood still at 21.5. Mend the source, then "
                               "close a-stuck")
    after = decide(RETRAIN, seen(incident=STUCK, past=(past("refuse", "a-stuck", state="refused"),)))
    assert after.action == "none"
    assert "while a-stuck is open" in after.reason
    assert decide(Policy(), seen(incident=STUCK)).action == "notify"


def test_a_snoozed_incident_leads_to_nothing() -> None:
    snoozed = msgspec.structs.replace(DRIFT, snoozed=True)
    assert decide(RETRAIN, seen(incident=snoozed)).action == "none"


def test_too_few_labels_hold_a_retrain_and_say_how_many() -> None:
    decision = decide(RETRAIN, seen(incident=DRIFT, labels=60, past=(TOLD,)))
    assert decision.action == "hold"
    assert decision.reason == "cannot retrain yet, about 140 more labels needed (60 of 200)"


def test_between_two_retrains_there_is_a_cooldown_also_for_another_incident() -> None:
    decision = decide(RETRAIN, seen(incident=DRIFT, past=(TOLD, past("retrain", "a-other", hours=23, gates="failed",
                                                                     version=2, champion=0))))
    assert decision.action == "hold"
    assert decision.reason == "the last retrain was less than 1 d ago; the next may start at 2026-01-01T13:00Z"
    assert decide(RETRAIN, seen(incident=DRIFT, past=(past("retrain", "a-other", hours=25, champion=0), TOLD))) \
        .action == "retrain"


def test_a_month_has_a_budget_and_an_incident_so_many_attempts() -> None:
    others = tuple(past("retrain", f"a-{i}", hours=24 * i + 30, champion=0) for i in range(4))
    assert "4 retrains within 30 days" in decide(RETRAIN, seen(incident=DRIFT, past=(*others, TOLD))).reason
    same = tuple(past("retrain", "a-drift", hours=24 * i + 30, state="failed") for i in range(3))
    assert "3 retrains did not mend a-drift" in decide(RETRAIN, seen(incident=DRIFT, past=(*same, TOLD))).reason


def test_a_second_attempt_has_a_key_of_its_own_and_new_evidence_of_the_same_incident_has_not() -> None:
    first = decide(RETRAIN, seen(incident=DRIFT, past=(TOLD,)))
    more = msgspec.structs.replace(DRIFT, sentence="rate rose: mean +0.7 sd")
    assert decide(RETRAIN, seen(incident=more, labels=900, at="2026-01-01T18:00:00.000000Z", past=(TOLD,))).key \
        == first.key
    second = decide(RETRAIN, seen(incident=DRIFT, past=(past("retrain", "a-drift", hours=48, state="failed"), TOLD)))
    assert (second.action, second.attempt) == ("retrain", 1)
    assert second.key != first.key
    assert decide(policy(cooldown_s=60.0), seen(incident=DRIFT, past=(TOLD,))).key != first.key


def test_a_version_that_passed_its_gates_starts_in_shadow_once() -> None:
    made = past("retrain", "a-drift", version=2, gates="passed")
    decision = decide(RETRAIN, seen(incident=DRIFT, past=(TOLD, made)))
    assert (decision.action, decision.version) == ("start_shadow", 2)
    tried = (TOLD, made, past("start_shadow", "v2"))
    assert decide(RETRAIN, seen(incident=DRIFT, past=tried)).action == "hold"       # the cooldown
    assert decide(RETRAIN, seen(champion=2, incident=DRIFT, past=(TOLD, made))).action != "start_shadow"


def test_a_version_that_failed_its_gates_is_told_and_not_tried() -> None:
    made = past("retrain", "a-drift", version=2, gates="failed", why="mse 16.1 is over 15")
    decision = decide(RETRAIN, seen(incident=DRIFT, past=(TOLD, made)))
    assert decision.action == "notify"
    assert decision.reason == "v2 was trained and is not tried: mse 16.1 is over 15; v1 stays"


def test_a_trial_goes_from_shadow_over_each_step_to_promotion() -> None:
    steps = [("shadow", 0.0), ("canary", 0.05), ("canary", 0.25)]
    found = [decide(RETRAIN, seen(trial=trial(stage=stage, share=share, verdict="better", words="better"))) for
             stage, share in steps]
    assert [(one.action, one.share) for one in found] == [("start_canary", 0.05), ("start_canary", 0.25),
                                                          ("promote", 0.0)]
    assert found[2].version == 2
    few = decide(RETRAIN, seen(trial=trial(verdict="better", rows=40)))
    assert few.action == "hold"
    assert few.reason == "v2 has computed 40 of 100 rows in shadow"


def test_without_a_verdict_the_canary_goes_on_and_says_so() -> None:
    decision = decide(RETRAIN, seen(trial=trial(stage="canary", share=0.25,
                                                words="cannot tell yet, about 140 more labels needed")))
    assert told(decision)[0] == "hold"
    assert decision.reason == "v2 against v1: cannot tell yet, about 140 more labels needed"


def test_a_worse_challenger_is_stopped_at_any_step() -> None:
    for share in (0.0, 0.05, 0.25):
        assert decide(RETRAIN, seen(trial=trial(share=share, verdict="worse", rows=3))).action == "stop"


@pytest.mark.parametrize("fields", [{"labels": 20_000}, {"since": "2025-11-30T00:00:00.000000Z"}])
def test_a_tie_is_called_a_tie_and_the_champion_stays(fields: dict[str, Any]) -> None:
    decision = decide(RETRAIN, seen(trial=trial(share=0.25, stage="canary", **fields)))
    assert decision.action == "stop"
    assert "no difference shows, so v1 stays" in decision.reason


def test_a_guardrail_needs_no_labels() -> None:
    decision = decide(RETRAIN, seen(incident=DRIFT, trial=trial(crossed=("3% of its answers are errors",))))
    assert decision.action == "stop"
    assert decision.reason == "v2 broke a guardrail: 3% of its answers are errors"
    back = decide(RETRAIN, seen(champion=2, last_good=1, crossed=("p99 of 900 ms",)))
    assert (back.action, back.version) == ("rollback", 1)
    assert decide(Policy(), seen(champion=2, last_good=1, crossed=("p99 of 900 ms",))).action == "notify"


def test_nothing_is_promoted_while_the_data_are_broken() -> None:
    refused = past("refuse", "a-stuck", state="refused")
    decision = decide(RETRAIN, seen(incident=STUCK, past=(refused,), trial=trial(share=0.25, verdict="better")))
    assert decision.action == "hold"
    assert decision.reason == "v2 is not judged while a-stuck is open: temp stood still at 21.5"


def test_harm_puts_the_last_good_version_beside_and_rolls_back_if_it_is_better() -> None:
    known = past("notify", "a-harm", champion=2)
    first = decide(RETRAIN, seen(champion=2, last_good=1, incident=HARM, past=(known,)))
    assert (first.action, first.version, first.subject) == ("start_shadow", 1, "v1 beside v2")
    beside = {"version": 1, "role": "last_good"}
    worse = seen(champion=2, last_good=1, incident=HARM, past=(known,), trial=trial(**beside, verdict="better"))
    assert (decide(RETRAIN, worse).action, decide(RETRAIN, worse).version) == ("rollback", 1)
    same = seen(champion=2, last_good=1, incident=HARM, past=(known,), trial=trial(**beside, verdict="worse"))
    assert decide(RETRAIN, same).action == "stop"
    tried = (known, past("start_shadow", "v1 beside v2", champion=2))
    assert decide(RETRAIN, seen(champion=2, last_good=1, incident=HARM, past=tried)).action == "retrain"


def test_a_promotion_is_followed_by_probation() -> None:
    promoted = past("promote", "trial", version=2)
    decision = decide(RETRAIN, seen(champion=2, last_good=1, past=(promoted,)))
    assert told(decision) == ("start_shadow", "v1 beside v2")
    assert decide(policy(probation_labels=0), seen(champion=2, last_good=1, past=(promoted,))).action == "none"
    over = decide(RETRAIN, seen(champion=2, last_good=1, past=(promoted,), trial=trial(
        version=1, role="last_good", labels=1_000)))
    assert over.action == "stop"


@pytest.mark.parametrize(("on_drift", "action"), [("notify", "notify"), ("propose", "propose")])
def test_a_person_decides_about_a_promotion_unless_the_policy_retrains(on_drift: Any, action: str) -> None:
    ready = trial(share=0.25, stage="canary", verdict="better", words="better")
    decision = decide(Policy(on_drift=on_drift), seen(trial=ready))
    assert decision.action == action
    assert decision.reason == "promote v2? better"
    waits = decide(Policy(on_drift=on_drift), seen(trial=ready, past=(past(decision.action, decision.subject),)))
    assert waits.action == "hold"


def test_the_kill_switch_holds_every_act_and_says_what_it_holds() -> None:
    off = policy(paused=True, by="ann", why="audit week")
    for situation in (seen(incident=DRIFT, past=(TOLD,)), seen(trial=trial(verdict="worse")),
                      seen(trial=trial(share=0.25, verdict="better"))):
        decision = decide(off, situation)
        assert decision.action == "hold"
        assert decision.reason.startswith("paused by ann: audit week. It would have done this: ")
        assert decide(RETRAIN, situation).action != "hold"
    assert decide(off, seen(incident=DRIFT)).action == "notify"


def test_an_act_that_failed_is_told_waits_and_is_not_tried_for_ever() -> None:
    ready = trial(share=0.25, verdict="better")
    name = decide(RETRAIN, seen(trial=ready)).subject
    failed = past("promote", name, hours=0.05, state="failed", why="v2 was deleted just now")
    first = decide(RETRAIN, seen(trial=ready, past=(failed,)))
    assert first.action == "notify"
    assert first.reason == "promote failed (d-promote): v2 was deleted just now"
    said = past("notify", "failed d-promote", hours=0.04)
    assert "tried again in a while" in decide(RETRAIN, seen(trial=ready, past=(failed, said))).reason
    earlier = past("promote", name, hours=1, state="failed")
    retried = decide(RETRAIN, seen(trial=ready, past=(earlier, said)))
    assert (retried.action, retried.attempt) == ("promote", 1)
    assert "failed 3 times" in decide(RETRAIN, seen(trial=ready, past=(earlier, earlier, earlier, said))).reason


def test_other_endpoints_have_trials_of_their_own_and_share_the_budget() -> None:
    other = msgspec.structs.replace(past("retrain", "a-other", hours=2, version=2, gates="passed"), endpoint="eu")
    decision = decide(RETRAIN, seen(incident=DRIFT, past=(other, TOLD)))
    assert decision.action == "hold"                       # its version is no candidate here; its retrain counts


def test_a_decision_is_recomputed_from_its_evidence() -> None:
    decision = decide(RETRAIN, seen(incident=DRIFT, trial=trial(share=0.25, verdict="better"), past=(TOLD,)))
    stored = Decision.from_json(canon.loads(canon.dumps(decision.to_json())))
    assert stored == decision
    assert again(stored.evidence) == decision
    with pytest.raises(Malformed, match="a stored seen can't be read"):
        again({**decision.evidence, "seen": {"model": "risk"}})
    with pytest.raises(Malformed, match="a stored policy can't be read"):
        again({})


def test_an_act_begun_before_somebody_changed_the_endpoint_is_not_taken_up() -> None:
    promote = decide(RETRAIN, seen(trial=trial(share=0.25, verdict="better")))
    assert stale(promote, seen()) == ""
    assert stale(promote, seen(champion=2)) == ""          # it was done, and only not marked
    assert stale(promote, seen(champion=7)) == "v7 serves now, and this was decided when v1 did"
    assert stale(decide(RETRAIN, seen(incident=DRIFT)), seen(champion=7)) == ""


def test_what_is_seen_survives_json() -> None:
    full = seen(incident=STUCK, trial=trial(crossed=("x",)), past=(TOLD,), last_good=None)
    assert Seen.from_json(canon.loads(canon.dumps(full.to_json()))) == full
