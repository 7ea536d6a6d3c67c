"""What should be done now?  Pure: a policy and what was seen give a decision, with its reason.

Looks at levels, not at events: asked twice, late or after a crash it says the same. In this order: a trial that breaks
a guardrail is ended; people are told of an incident, of a failed act; a trial is judged; a challenger that was trained
starts its trial; an incident leads to what the policy allows, and broken data lead to a refusal.

    inputs moved, data look real  → notify | propose | retrain
    the data are broken           → refuse to retrain, in words
    labels show harm              → the last good version in shadow; roll back if it is better, else as above
    challenger better | worse     → promote | stop it
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from trimtab import canon, clock
from trimtab.loop.model import Action, Decision, Past, Policy, Seen, Trial

_MONTH: Final = timedelta(days=30)
SAID: Final = frozenset({"none", "hold", "refuse", "notify", "propose"})      # what may be said while paused
_QUIET: Final = frozenset({"hold", "none"})


def decide(policy: Policy, seen: Seen) -> Decision:
    """The one thing to do now; `none` where all is well, `hold` where something waits and why. Pure, never raises."""
    found = _Desk(policy, seen).decision()
    if policy.paused and found.action not in SAID:
        by = f" by {policy.by}" if policy.by else ""
        why = f": {policy.why}" if policy.why else ""
        found = msgspec.structs.replace(
            found, action="hold", subject=f"{found.action} {found.subject} while paused".replace("  ", " "),
            reason=f"paused{by}{why}. It would have done this: {found.words}")
    grounds = {"policy": policy.digest, "model": seen.model, "endpoint": seen.endpoint, "action": found.action,
               "subject": found.subject, "champion": found.champion, "version": found.version, "share": found.share,
               "attempt": found.attempt}
    return msgspec.structs.replace(found, key=str(canon.digest_json(grounds)),
                                   evidence={"policy": policy.to_json(), "seen": seen.to_json()})


def again(evidence: Mapping[str, Any]) -> Decision:
    """The decision, recomputed from the evidence that was stored with it. Raises Malformed."""
    return decide(Policy.from_json(evidence.get("policy")), Seen.from_json(evidence.get("seen")))


def stale(decision: Decision, seen: Seen) -> str:
    """Why an act that was begun earlier should not be taken up any more, or "" where it should.

    It should where the champion is the one that it was decided about, or already the one that it leads to.
    """
    if decision.action in ("notify", "propose", "refuse") or seen.champion in (decision.champion, decision.version):
        return ""
    serves = "nothing serves" if seen.champion is None else f"v{seen.champion} serves"
    return f"{serves} now, and this was decided when v{decision.champion} did"


class _Desk:
    """One endpoint's papers: each method gives a decision, or None and the next one is asked."""

    def __init__(self, policy: Policy, seen: Seen) -> None:
        self.policy, self.seen = policy, seen
        self.now = clock.from_text(seen.at)
        self.champion = seen.champion or 0
        self.mine = tuple(one for one in seen.past if one.endpoint == seen.endpoint)

    def decision(self) -> Decision:
        """The first that has something to say."""
        if self.seen.champion is None:
            return self.say("none", f"nothing serves at {self.seen.endpoint!r} of {self.seen.model}")
        for desk in (self.guardrails, self.failure, self.news, self.trial, self.candidate, self.incident,
                     self.probation):
            if (found := desk()) is not None:
                return found
        return self.say("none", "nothing to do")

    def guardrails(self) -> Decision | None:
        """What needs no label: who breaks errors, latency or output leaves at once."""
        trial, before = self.seen.trial, self.seen.last_good
        if trial is not None and trial.crossed:
            return self.act("stop", f"v{trial.version} broke a guardrail: {'; '.join(trial.crossed)}",
                            subject=_trial(trial), version=trial.version)
        if not self.seen.crossed:
            return None
        reason, subject = f"v{self.champion} broke a guardrail: {'; '.join(self.seen.crossed)}", f"v{self.champion}"
        if before is None or self.policy.on_drift != "retrain":
            return self.once("notify", reason, subject=f"guardrail {subject}")
        return self.act("rollback", reason, subject=subject, version=before)

    def failure(self) -> Decision | None:
        """An act that failed is told, once."""
        last = next((one for one in reversed(self.mine) if one.action not in _QUIET), None)
        if last is None or last.state != "failed" or last.action == "notify":
            return None
        why = last.result.get("why", "it failed")
        return self.once("notify", f"{last.action} failed ({last.id}): {why}", subject=f"failed {last.id}")

    def news(self) -> Decision | None:
        """An incident is told once; where it leads to a refusal, that is how it is told."""
        incident = self.seen.incident
        if incident is None or incident.snoozed:
            return None
        if incident.broken and self.policy.on_drift != "notify":
            return self.once("refuse", f"no retrain: the data look broken, {incident.broken}. Mend the source, then "
                             f"close {incident.id}", subject=incident.id)
        return self.once("notify", incident.sentence, subject=incident.id)

    def trial(self) -> Decision | None:
        """Judge what runs beside the champion."""
        trial = self.seen.trial
        if trial is None:
            return None
        if trial.version == self.champion:
            return self.act("stop", f"v{trial.version} serves already", subject=_trial(trial), version=trial.version)
        if trial.role == "last_good":
            return self.judge_last_good(trial)
        if trial.verdict == "worse":
            return self.act("stop", trial.words or f"v{trial.version} is worse", subject=_trial(trial),
                            version=trial.version)
        if over := self.over(trial, self.policy.most_labels):
            return self.act("stop", f"{over} without a verdict: no difference shows, so v{self.champion} stays",
                            subject=_trial(trial), version=trial.version)
        if wait := self.broken(trial):
            return wait
        if trial.rows < self.policy.step_rows:
            return self.say("hold", f"v{trial.version} has computed {trial.rows:,} of {self.policy.step_rows:,} rows "
                            f"{_share(trial.share)}", subject=f"{_trial(trial)} {_share(trial.share)}",
                            version=trial.version)
        further = next((share for share in sorted(self.policy.steps) if share > trial.share), None)
        if further is not None:
            return self.act("start_canary", f"v{trial.version} computed {trial.rows:,} rows {_share(trial.share)} "
                            f"with its guardrails clean; on to {further * 100:.3g}% of the traffic",
                            subject=_trial(trial), version=trial.version, share=further)
        if trial.verdict == "better":
            return self.change("promote", trial.words or f"v{trial.version} is better", subject=_trial(trial),
                               version=trial.version)
        return self.say("hold", f"v{trial.version} against v{self.champion}: {trial.words}", version=trial.version,
                        subject=f"{_trial(trial)} {_share(trial.share)}")

    def judge_last_good(self, trial: Trial) -> Decision | None:
        """The version before, in shadow: is it better than the one that took its place?"""
        name = _trial(trial)
        if trial.verdict == "better" and (wait := self.broken(trial)):
            return wait
        if trial.verdict == "better":
            return self.change("rollback", f"v{trial.version}, which served before, is better than v{self.champion}: "
                               f"{trial.words}", subject=name, version=trial.version)
        if trial.verdict == "worse":
            return self.act("stop", f"v{self.champion} is better than v{trial.version}, which served before",
                            subject=name, version=trial.version)
        if over := self.over(trial, self.policy.probation_labels):
            return self.act("stop", f"{over}: nothing shows that v{trial.version} was better than v{self.champion}",
                            subject=name, version=trial.version)
        return self.say("hold", f"v{self.champion} against v{trial.version}, which served before: {trial.words}",
                        subject=name, version=trial.version)

    def broken(self, trial: Trial) -> Decision | None:
        """While the data are broken nothing is promoted, restored or given more traffic on their word."""
        incident = self.seen.incident
        if incident is None or not incident.broken:
            return None
        return self.say("hold", f"v{trial.version} is not judged while {incident.id} is open: {incident.broken}",
                        subject=f"{_trial(trial)} and {incident.id}", version=trial.version)

    def candidate(self) -> Decision | None:
        """The newest version that a retrain made, if it passed its gates and had no trial yet."""
        made = next((one for one in reversed(self.mine) if one.action == "retrain" and one.state == "done"), None)
        if made is None or made.champion != self.champion:
            return None
        version, gates = made.result.get("version"), made.result.get("gates")
        if not isinstance(version, int) or version == self.champion:
            return None
        if gates != "passed":
            why = made.result.get("why") or "its gates did not pass"
            return self.once("notify", f"v{version} was trained and is not tried: {why}; v{self.champion} stays",
                             subject=f"v{version} gates")
        subject = f"v{version}"
        if any(one.action == "start_shadow" and one.subject == subject and one.state == "done" for one in self.mine):
            return None
        return self.act("start_shadow", f"v{version} passed its gates; it answers beside v{self.champion}, unseen",
                        subject=subject, version=version)

    def incident(self) -> Decision | None:
        """From an incident to what the policy allows."""
        incident, policy = self.seen.incident, self.policy
        if incident is None or incident.snoozed or policy.on_drift == "notify":
            return None
        if incident.broken:
            return self.say("none", f"no retrain while {incident.id} is open: {incident.broken}", subject=incident.id)
        if incident.harm and self.seen.last_good is not None and policy.on_drift == "retrain" and \
                policy.probation_labels and not self.tried(self.seen.last_good):
            return self.act("start_shadow", f"{incident.sentence}. v{self.seen.last_good}, which served before, "
                            "answers the same rows, unseen", subject=self.beside(self.seen.last_good),
                            version=self.seen.last_good)
        if policy.on_drift == "propose":
            return self.once("propose", f"retrain {self.seen.model}: {incident.sentence}", subject=incident.id)
        return self.retrain(incident.id, incident.sentence)

    def retrain(self, subject: str, sentence: str) -> Decision:
        """A retrain, or what it waits for."""
        policy, seen = self.policy, self.seen
        ended = [one for one in seen.past if one.action == "retrain" and one.state in ("done", "failed")]
        here = [one for one in ended if one.subject == subject]
        if len(here) >= policy.attempts:
            return self.say("hold", f"{len(here)} retrains did not mend {subject}; a person should look: trimtab "
                            f"explain {subject}", subject=f"{subject} attempts")
        lately = [one for one in ended if self.age(one) < _MONTH]
        if len(lately) >= policy.retrains_per_month:
            return self.say("hold", f"{len(lately)} retrains within 30 days are what the policy allows",
                            subject=f"{subject} budget")
        wait = timedelta(seconds=policy.cooldown_s)
        if any(self.age(one) < wait for one in ended):
            until = clock.from_text(max(one.at for one in ended)) + wait
            return self.say("hold", f"the last retrain was less than {_span(wait)} ago; the next may start at "
                            f"{clock.to_text(until)[:16]}Z", subject=f"{subject} cooldown {len(ended)}")
        if seen.labels < policy.least_labels:
            return self.say("hold", f"cannot retrain yet, about {policy.least_labels - seen.labels:,} more labels "
                            f"needed ({seen.labels:,} of {policy.least_labels:,})", subject=f"{subject} labels")
        return self.act("retrain", f"{sentence}; {seen.labels:,} labelled rows within the contract since it began",
                        subject=subject, attempt=len(here))

    def probation(self) -> Decision | None:
        """After a promotion by the loop the version before answers beside the new one for a while."""
        before = self.seen.last_good
        last = next((one for one in reversed(self.mine) if one.action in ("promote", "rollback")
                     and one.state == "done"), None)
        if last is None or last.action != "promote" or last.version != self.champion or before is None:
            return None
        if not self.policy.probation_labels or self.tried(before) or self.seen.trial is not None:
            return None
        return self.act("start_shadow", f"v{self.champion} is on probation: v{before}, which served before, answers "
                        "beside it, unseen", subject=self.beside(before), version=before)

    def change(self, action: Action, reason: str, *, subject: str, version: int) -> Decision:
        """A change of what serves: done under "retrain", else said."""
        if self.policy.on_drift == "retrain":
            return self.act(action, reason, subject=subject, version=version)
        said: Action = "propose" if self.policy.on_drift == "propose" else "notify"
        return self.once(said, f"{action} v{version}? {reason}", subject=f"{action} {subject}") or \
            self.say("hold", f"a person decides: {action} v{version}? {reason}", subject=subject, version=version)

    def act(self, action: Action, reason: str, *, subject: str, version: int | None = None, share: float = 0.0,
            attempt: int = 0) -> Decision:
        """An act, unless the same one failed too often or just now."""
        failed = [one for one in self.mine if one.action == action and one.subject == subject
                  and one.champion == self.champion and one.state == "failed" and action != "retrain"]
        if len(failed) >= self.policy.attempts:
            return self.say("hold", f"{action} failed {len(failed)} times ({failed[-1].id}); a person should look",
                            subject=f"{subject} attempts", version=version)
        if failed and self.age(failed[-1]) < timedelta(seconds=self.policy.retry_s):
            return self.say("hold", f"{action} failed just now ({failed[-1].id}) and is tried again in a while",
                            subject=f"{subject} after {failed[-1].id}", version=version)
        return self.say(action, reason, subject=subject, version=version, share=share,
                        attempt=attempt + len(failed))

    def once(self, action: Action, reason: str, *, subject: str) -> Decision | None:
        """Say something, unless it was said of this subject already."""
        if any(one.action == action and one.subject == subject and one.state != "decided" for one in self.mine):
            return None
        return self.say(action, reason, subject=subject)

    def say(self, action: Action, reason: str, *, subject: str = "", version: int | None = None, share: float = 0.0,
            attempt: int = 0) -> Decision:
        """A decision without its key and evidence."""
        return Decision(model=self.seen.model, endpoint=self.seen.endpoint, action=action, reason=reason,
                        subject=subject, champion=self.champion, version=version, share=share,
                        attempt=attempt)

    def over(self, trial: Trial, most_labels: int) -> str:
        """Why a trial has lasted long enough, or ""."""
        if trial.labels >= most_labels:
            return f"{trial.labels:,} labels"
        days = (self.now - clock.from_text(trial.since)) / timedelta(days=1)
        return f"{days:.0f} days" if days >= self.policy.most_days else ""

    def tried(self, version: int) -> bool:
        """Did this version answer beside the champion already?"""
        return any(one.action == "start_shadow" and one.subject == self.beside(version) and one.state == "done"
                   for one in self.mine)

    def beside(self, version: int) -> str:
        """The name of a trial of an earlier version beside the champion."""
        return f"v{version} beside v{self.champion}"

    def age(self, one: Past) -> timedelta:
        """How long ago a decision was made."""
        return self.now - clock.from_text(one.at)


def _trial(trial: Trial) -> str:
    """The name of a trial: a later one of the same version is another."""
    return f"trial {trial.number}: v{trial.version}"


def _share(share: float) -> str:
    return "in shadow" if not share else f"at {share * 100:.3g}% of the traffic"


def _span(time: timedelta) -> str:
    hours = time / timedelta(hours=1)
    return f"{hours / 24:.3g} d" if hours >= 24 else f"{hours:.3g} h"
