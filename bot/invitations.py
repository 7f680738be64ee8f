"""From a business event to an invitation: trigger rules, the contact cap, and surveys that staff start.

The rules themselves are pure (flows.triggers); this is where they meet what is stored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from bot.conversation import BY_CUSTOMER, Conversation
from bot.outbox import Outbox
from bot.staff.asking import CustomerHit, Eligibility, NotAllowed, Planned, Started, SurveyRequest, limited
from bot.voice import Voice
from flows import experiments, triggers
from flows.flow import Flow
from flows.survey import Library
from flows.texts import item_name
from flows.triggers import TriggerRule
from flows.visible import spelled_line
from storage.records import Address, AuditEntry, Contacts, Customer, Event, Invitation, Job, Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises

_WORDS = (re.compile(r"#?[A-Za-z0-9][A-Za-z0-9_-]{0,199}"), re.compile(r"#?\w[\w-]{0,199}"))
"""What an id or an order number may look like in a sentence; Japanese puts no space around it."""
_WORDS_READ = 60
_EVERY_BATCH = 50
_STAFF_EXPIRES_MS = 7 * triggers.DAY_MS
_COMPLAINT_RESOLVED = "complaint_resolved"
"""The shop's own tools report that a customer was looked after: the open case is settled."""


class Invitations:
    """Decides who is asked, when, and stores why somebody is not."""

    def __init__(
        self,
        *,
        conversation: Conversation,
        voice: Voice,
        library: Library,
        shop: Shop,
        promises: Promises,
        channels: set[str],
    ) -> None:
        self._talk = conversation
        self._voice = voice
        self._library = library
        self._shop = shop
        self._promises = promises
        self._channels = channels

    # ------------------------------------------------------------------------------------------------- events

    def take_event(self, tx: Tx, event: Event, outbox: Outbox) -> None:
        """A new business event: withdraws what it voids and plans what it triggers. History never triggers."""
        if event.imported or not event.customer_id:
            return
        if event.type == _COMPLAINT_RESOLVED:
            self._talk.cases.resolved(tx, event.customer_id, outbox)
        data = json.loads(event.data)
        facts: dict[str, object] | None = None
        for rule in self._shop.triggers:
            if triggers.voids(rule, event.type):
                self._void(tx, rule, event, data, outbox)
            if rule.on != event.type:
                continue
            if facts is None:
                facts = facts_of(tx, event, data)
            if triggers.matches(rule, event.type, facts):
                self._plan(tx, rule, event, facts, outbox)

    def _void(self, tx: Tx, rule: TriggerRule, event: Event, data: Mapping[str, Any], outbox: Outbox) -> None:
        for invitation in tx.open_invitations(event.customer_id):
            if invitation.trigger_id != rule.id or invitation.part > 1:
                continue
            cause = tx.find_event(invitation.event_id)
            if cause is not None and not same_order(json.loads(cause.data), data):
                continue
            if invitation.state == "planned":
                tx.cancel_jobs(outbox.now_ms, key=f"invite:{invitation.id}")
            else:
                session = tx.find_session(invitation.session_id)
                if session is None or session.started_ms is not None or session.status != "open":
                    continue
                self._talk.stop(tx, session, "voided", outbox)
            tx.put_invitation(replace(invitation, state="withdrawn", reason=f"void:{event.type}"))

    def _plan(self, tx: Tx, rule: TriggerRule, event: Event, facts: Mapping[str, object], outbox: Outbox) -> None:
        rule, experiment, arm = self._assigned(rule, event.customer_id, outbox.now_ms)
        due_ms = triggers.due_ms(rule, event.occurred_ms, self._shop.tz)
        invitation = self._invitation(
            rule.id,
            self._library.flows[rule.flow],
            event.customer_id,
            outbox,
            due_ms=max(due_ms, outbox.now_ms),
            event_id=event.id,
            segment=spelled_line(str(facts.get(rule.segment, ""))) if rule.segment else "",
            expires_ms=rule.expires_ms,
            experiment=experiment,
            arm=arm,
        )
        self._talk.plan(tx, invitation, outbox)

    def _assigned(self, rule: TriggerRule, customer_id: str, now_ms: int) -> tuple[TriggerRule, str, str]:
        """The rule as it is for this customer, with the experiment and arm that make it so ("" for none)."""
        experiment = experiments.running(self._shop.experiments, rule, now_ms=now_ms, tz=self._shop.tz)
        if experiment is None:
            return rule, "", ""
        arm = experiments.assign(experiment, customer_id)
        return experiments.treated(rule, arm), experiment.id, arm.id

    def _invitation(
        self,
        trigger_id: str,
        flow: Flow,
        customer_id: str,
        outbox: Outbox,
        *,
        due_ms: int,
        event_id: str = "",
        segment: str = "",
        expires_ms: int | None = None,
        experiment: str = "",
        arm: str = "",
    ) -> Invitation:
        return Invitation(
            id=outbox.new_id(),
            trigger_id=trigger_id,
            flow_id=flow.id,
            survey_kind=flow.survey_kind,
            touchpoint=flow.touchpoint,
            customer_id=customer_id,
            event_id=event_id,
            channel="",
            segment=segment,
            state="planned",
            reason="",
            planned_ms=outbox.now_ms,
            due_ms=due_ms,
            expires_ms=None if expires_ms is None else due_ms + expires_ms,
            sent_ms=None,
            session_id="",
            experiment=experiment,
            arm=arm,
        )

    # ------------------------------------------------------------------------------------------------- deciding

    def due(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """An "invite" job: ask now, wait, or skip with a stored reason. Finishes the job in the same transaction."""
        invitation = tx.find_invitation(json.loads(job.payload)["invitation"])
        if invitation is None or invitation.state != "planned":
            tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            return
        if invitation.part > 1 and not self._goes_on(tx, invitation):
            tx.put_invitation(replace(invitation, state="withdrawn", reason="erased"))
            tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            return
        decision = self._decide(tx, invitation, outbox.now_ms)
        match decision:
            case triggers.Wait(until_ms=until_ms, reason=reason):
                if invitation.expires_ms is not None and until_ms >= invitation.expires_ms:
                    tx.put_invitation(replace(invitation, state="skipped", reason=reason))
                    tx.finish_job(job, state="done", at_ms=outbox.now_ms)
                else:
                    tx.put_invitation(replace(invitation, due_ms=until_ms, reason=reason))
                    tx.retry_job(job, due_ms=until_ms, error=reason)
                    outbox.expect(until_ms)
            case triggers.Skip(reason=reason):
                tx.put_invitation(replace(invitation, state="skipped", reason=reason))
                tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            case address:
                tx.finish_job(job, state="done", at_ms=outbox.now_ms)
                self._send(tx, invitation, address, outbox)

    @staticmethod
    def _goes_on(tx: Tx, invitation: Invitation) -> bool:
        """Whether the wave's first answers are still there: a rest alone would make no index."""
        first = tx.find_session(invitation.wave_id)
        return first is not None and first.state != ""

    def _decide(self, tx: Tx, invitation: Invitation, now_ms: int) -> triggers.Wait | triggers.Skip | Address:
        """The address to ask at, or why not."""
        rule = self._rule(invitation)
        seen = tx.contacts(
            invitation.customer_id, event_id=invitation.event_id, touchpoint=invitation.touchpoint, now_ms=now_ms
        )
        reachable = self._reachable(tx, invitation.customer_id)
        wanted = triggers.CHANNELS if rule is None else rule.channel
        decision = triggers.way_to_ask(
            self._shop.contact,
            candidate=triggers.Candidate(
                survey_kind="relational" if invitation.survey_kind == "relational" else "transactional",
                sample=rule.sample
                if rule is not None and not invitation.requested_by and invitation.part == 1
                else 1.0,
                give_up_ms=invitation.expires_ms,
                # asked again at the customer's own wish, or the next session of a wave: one with the first invitation
                repeat=invitation.requested_by == BY_CUSTOMER or invitation.part > 1,
                overridden=invitation.override_reason != "",
            ),
            history=history_of(seen),
            # a member of staff may have named one
            wanted=[c for c in wanted if invitation.channel in ("", c)],
            reachable=reachable,
            paused=tx.is_paused(invitation.flow_id),
            now_ms=now_ms,
            tz=self._shop.tz,
            draw=chance_of(invitation.id),
        )
        return reachable[decision] if isinstance(decision, str) else decision

    def _reachable(self, tx: Tx, customer_id: str) -> dict[str, Address]:
        """The address by which the customer can be asked, by channel."""
        found = reversed(tx.addresses_of(customer_id))
        return {a.channel: a for a in found if a.blocked_ms is None and a.channel in self._channels}

    def _rule(self, invitation: Invitation) -> TriggerRule | None:
        """The rule it was planned by, as it is for the arm of its customer."""
        rule = next((rule for rule in self._shop.triggers if rule.id == invitation.trigger_id), None)
        experiment = next((e for e in self._shop.experiments if e.id == invitation.experiment), None)
        arm = None if experiment is None else experiment.arm(invitation.arm)
        return rule if rule is None or arm is None else experiments.treated(rule, arm)

    def _send(self, tx: Tx, invitation: Invitation, address: Address, outbox: Outbox) -> None:
        asked = self._library.arms.get((invitation.experiment, invitation.arm))
        flow = asked or self._library.flows.get(invitation.flow_id)
        if flow is None or invitation.part > flow.parts:
            tx.put_invitation(replace(invitation, state="skipped", reason="unknown_flow"))
            return
        customer = tx.find_customer(invitation.customer_id)
        rule = self._rule(invitation)
        lang = self._language(customer, address, flow)
        facts = _occasion(tx, invitation) | self._past(tx, flow, invitation.customer_id, outbox.now_ms)
        first_contact = not tx.sessions_of(invitation.customer_id, limit=1)
        session_id = outbox.new_id()
        session = Session(
            id=session_id,
            invitation_id=invitation.id,
            flow_id=flow.id,
            revision=flow.revision,
            survey_kind=flow.survey_kind,
            touchpoint=flow.touchpoint,
            segment=invitation.segment,
            customer_id=invitation.customer_id,
            channel=address.channel,
            workspace=address.workspace,
            external_id=address.external_id,
            lang=lang,
            state="",
            status="open",
            version=0,
            created_ms=outbox.now_ms,
            started_ms=None,
            ended_ms=None,
            expires_ms=invitation.expires_ms,
            wave_id="" if flow.wave is None else invitation.wave_id or session_id,
        )
        tx.put_invitation(
            replace(
                invitation,
                wave_id=session.wave_id,
                state="sent",
                reason="",
                channel=address.channel,
                sent_ms=outbox.now_ms,
                session_id=session.id,
            )
        )
        self._talk.begin(
            tx,
            session,
            variables=self._variables(session, customer, facts, outbox.now_ms),
            facts=facts,
            first_contact=first_contact,
            outbox=outbox,
            last_offer=invitation.requested_by == BY_CUSTOMER,
            part=invitation.part,
        )
        remind = invitation.part == 1 and not invitation.requested_by
        if rule is not None and rule.remind_ms is not None and remind:
            self._timer(tx, session, "remind", outbox.now_ms + rule.remind_ms, outbox)
        if session.expires_ms is not None:
            self._timer(tx, session, "expire", session.expires_ms, outbox)

    def _past(self, tx: Tx, flow: Flow, customer_id: str, now_ms: int) -> dict[str, object]:
        """The facts about the customer's past that the flow speaks of."""

        def last(*types: str) -> int | None:
            found = tx.events_of(customer_id, types=types, limit=1)
            return found[0].occurred_ms if found else None

        if not any(name.startswith("customer.") for name in flow.fact_names):
            return {}
        return triggers.customer_facts(
            now_ms,
            incident_ms=last(*triggers.INCIDENTS),
            purchase_ms=last("purchase"),
            repeat_interval_ms=self._shop.repeat_interval_ms,
        )

    def _timer(self, tx: Tx, session: Session, kind: Literal["remind", "expire"], due_ms: int, outbox: Outbox) -> None:
        outbox.queue(
            tx, kind, due_ms=due_ms, key=f"{kind}:{session.id}", session_id=session.id, customer_id=session.customer_id
        )

    def remind(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """A "remind" job: at most one, only if nothing was answered, within contact hours, never after an opt-out."""
        session = tx.find_session(job.session_id)
        if session is None or session.status != "open" or session.started_ms is not None:
            tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            return
        open_ms = triggers.next_open_ms(self._shop.contact, outbox.now_ms, self._shop.tz)
        if open_ms > outbox.now_ms:
            tx.retry_job(job, due_ms=open_ms, error="quiet_hours")
            outbox.expect(open_ms)
            return
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)
        if tx.consent(session.customer_id, "surveys") is not False and not tx.is_paused(session.flow_id):
            self._talk.elapsed(tx, session, "remind", outbox)

    def _language(self, customer: Customer | None, address: Address, flow: Flow) -> str:
        for lang in (customer.language if customer else "", address.language, self._shop.language):
            if lang in flow.languages:
                return lang
        return flow.languages[0]

    def _variables(
        self, session: Session, customer: Customer | None, facts: Mapping[str, object], now_ms: int
    ) -> dict[str, str]:
        lang = session.lang
        variables = {
            "name": customer.name if customer else "",
            "company": str(facts.get("order.company", "")),
            "item": item_text(facts, lang),
            "brand": self._shop.brand_in(lang),
            "team": self._shop.team_in(lang),
            "here": self._voice.here(session.channel, lang),
            "date": self._promises.date_text(now_ms, lang),
            "expires": "" if session.expires_ms is None else self._promises.date_text(session.expires_ms, lang),
            "privacy_url": self._shop.privacy_url,
            "retention": self._promises.retention_text(lang),
            "support_hours": self._promises.support_hours_text(lang),
        }
        return {key: value for key, value in variables.items() if value}

    # ------------------------------------------------------------------------------------------------- every

    def schedule_every(self, tx: Tx, outbox: Outbox) -> None:
        """See to it that each `every` rule has its next daily run queued."""
        for rule in self._shop.triggers:
            if rule.every_ms is not None:
                self._next_run(tx, rule, outbox)

    def _next_run(self, tx: Tx, rule: TriggerRule, outbox: Outbox) -> None:
        due_ms = triggers.next_slot_ms(rule, outbox.now_ms, self._shop.tz)
        day = datetime.fromtimestamp(due_ms / 1000, self._shop.tz).date().isoformat()
        outbox.queue(tx, "every", {"trigger": rule.id}, due_ms=due_ms, key=f"every:{rule.id}:{day}")

    def run_every(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """An "every" job: plan an invitation for each customer whose last one of this rule is long enough ago. Some at
        a time: a unit of work keeps everybody else waiting, so the rest is another job."""
        wanted = json.loads(job.payload)
        rule = next((r for r in self._shop.triggers if r.id == wanted["trigger"]), None)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)
        if rule is None or rule.every_ms is None:
            return
        since_ms = outbox.now_ms - rule.every_ms
        batch = tx.customers_due(rule.id, since_ms, after=wanted.get("after", ""), limit=_EVERY_BATCH)
        for customer in batch:
            self._plan_every(tx, rule, customer.id, outbox)
        if len(batch) == _EVERY_BATCH:
            outbox.queue(tx, "every", {"trigger": rule.id, "after": batch[-1].id})
        self._next_run(tx, rule, outbox)

    def _plan_every(self, tx: Tx, rule: TriggerRule, customer_id: str, outbox: Outbox) -> None:
        """A relational survey is planned `contact.relational_ahead` before its day, so that rule 7 of the contact cap
        can keep other surveys out of its way; for customers outside the sample there is nothing to keep free."""
        rule, experiment, arm = self._assigned(rule, customer_id, outbox.now_ms)
        flow = self._library.flows[rule.flow]
        now = self._invitation(
            rule.id,
            flow,
            customer_id,
            outbox,
            due_ms=outbox.now_ms,
            expires_ms=rule.expires_ms,
            experiment=experiment,
            arm=arm,
        )
        ahead_ms = self._shop.contact.relational_ahead
        if flow.survey_kind == "relational" and ahead_ms is not None and chance_of(now.id) < rule.sample:
            # the run itself comes a moment after the slot: the slot on that day is meant, not the one after
            due_ms = triggers.next_slot_ms(rule, outbox.now_ms + ahead_ms - triggers.DAY_MS, self._shop.tz)
            now = replace(now, due_ms=due_ms, expires_ms=due_ms + rule.expires_ms)
        self._talk.plan(tx, now, outbox)

    # ------------------------------------------------------------------------------------------------- staff

    def eligibility(self, tx: Tx, request: SurveyRequest, now_ms: int) -> Eligibility | NotAllowed:
        """What staff see before they send: how things stand with the customer, and what the contact cap says of this
        survey at its time. NotAllowed when the survey or the customer is not there. Changes nothing."""
        invitation = self._asked_for(tx, request, request.customer_id, now_ms)
        if isinstance(invitation, NotAllowed):
            return invitation
        customer = tx.find_customer(request.customer_id)
        assert customer is not None  # _asked_for looked
        decision = self._decide(tx, invitation, invitation.due_ms)
        refused = None if _is_for_later(decision) else self._refusal(decision)
        reachable = self._reachable(tx, request.customer_id)
        wanted = [c for c in triggers.CHANNELS if request.channel in ("", c)]
        seen = tx.contacts(request.customer_id, event_id="", touchpoint=invitation.touchpoint, now_ms=now_ms)
        return Eligibility(
            customer=CustomerHit(customer.id, customer.name),
            refused=refused,
            channel=triggers.choose_channel(wanted, reachable) or "",
            last_invited_ms=seen.last_invitation_ms,
            invited_365d=seen.invitations_365d,
            per_year=self._shop.contact.per_year,
            opted_out=seen.opted_out,
            open_case=seen.open_case,
            opens_ms=triggers.next_open_ms(self._shop.contact, invitation.due_ms, self._shop.tz),
            due_ms=invitation.due_ms,
        )

    def start_by_staff(self, tx: Tx, request: SurveyRequest, outbox: Outbox) -> Started | Planned | NotAllowed:
        """A member of staff starts a survey, now or at a time: sampling does not apply, the contact cap does, unless
        the request says why it should not (who may say so is for the caller). One window starts one survey, however
        often it is sent. Each try is audited, each refusal stored with its reason."""
        invitation = self._asked_for(tx, request, request.request_id, outbox.now_ms)
        if isinstance(invitation, NotAllowed):
            return invitation
        known = tx.find_invitation(invitation.id)
        if known is not None:
            return Planned(known.due_ms) if known.state != "skipped" else NotAllowed(known.reason)
        overruled = ""
        if request.override_reason:
            # the cap as it is without the reason: what is allowed anyway is no override
            without = self._refusal(self._decide(tx, replace(invitation, override_reason=""), invitation.due_ms))
            overruled = "" if without is None or not overridable(without.reason) else without.reason
            invitation = invitation if overruled else replace(invitation, override_reason="")
        decision: triggers.Wait | triggers.Skip | triggers.Invite | Address
        decision = self._decide(tx, invitation, invitation.due_ms)
        if _is_for_later(decision):
            invitation = replace(invitation, due_ms=decision.until_ms)
            decision = triggers.Invite()
        refusal = self._refusal(decision)
        told = [request.flow_id, *([] if refusal is None else [refusal.reason])]
        if overruled and refusal is None:
            told += [f"past {overruled}", request.override_reason]
        action = "survey.refused" if refusal is not None else "survey.override" if overruled else "survey.start"
        tx.audit(
            AuditEntry(
                id=outbox.new_id(),
                at_ms=outbox.now_ms,
                actor=f"slack:{request.workspace}:{request.requested_by}",
                action=action,
                subject=request.customer_id,
                detail=": ".join(told),
            )
        )
        if refusal is not None:
            tx.put_invitation(replace(invitation, state="skipped", reason=refusal.reason))
            return refusal
        self._talk.plan(tx, invitation, outbox)
        channel = decision.channel if isinstance(decision, Address) else ""
        return Planned(invitation.due_ms, channel) if invitation.due_ms > outbox.now_ms else Started(channel)

    def _asked_for(self, tx: Tx, request: SurveyRequest, invitation_id: str, now_ms: int) -> Invitation | NotAllowed:
        flow = self._library.flows.get(request.flow_id)
        if flow is None:
            return NotAllowed("unknown_flow")
        if tx.find_customer(request.customer_id) is None:
            return NotAllowed("unknown_customer")
        due_ms = max(now_ms, request.at_ms or now_ms)
        return Invitation(
            id=f"staff:{invitation_id}",
            trigger_id=triggers.BY_STAFF,
            flow_id=flow.id,
            survey_kind=flow.survey_kind,
            touchpoint=flow.touchpoint,
            customer_id=request.customer_id,
            event_id="",
            channel=request.channel,
            segment="",
            state="planned",
            reason="",
            planned_ms=now_ms,
            due_ms=due_ms,
            expires_ms=due_ms + _STAFF_EXPIRES_MS,
            sent_ms=None,
            session_id="",
            note=request.note,
            requested_by=request.requested_by,
            override_reason=request.override_reason,
        )

    def _refusal(self, decision: triggers.Wait | triggers.Skip | triggers.Invite | Address) -> NotAllowed | None:
        match decision:
            case triggers.Wait(until_ms=at_ms, reason=reason) | triggers.Skip(allowed_from_ms=at_ms, reason=reason):
                return limited(self._shop.contact, reason, at_ms)
            case _:
                return None

    def find(self, tx: Tx, words: str) -> list[CustomerHit]:
        """Customers by id, name or order number (with its # or without), best first; an exact id comes alone."""
        exact = tx.find_customer(words)
        found = [exact] if exact is not None else tx.search_customers(words)
        if not found and words:
            found = tx.search_customers(words.removeprefix("#") if words.startswith("#") else f"#{words}")
        return [CustomerHit(customer.id, customer.name) for customer in found]

    def recognise(self, tx: Tx, text: str) -> CustomerHit | None:
        """The one customer whose id or order number stands in a text; None when it names nobody, or several."""
        named: dict[str, CustomerHit] = {}
        for word in dict.fromkeys(word for shape in _WORDS for word in shape.findall(text)[:_WORDS_READ]):
            for customer_id in (word, *tx.customers_of_order(word)):
                customer = tx.find_customer(customer_id)
                if customer is not None:
                    named[customer.id] = CustomerHit(customer.id, customer.name)
        return next(iter(named.values())) if len(named) == 1 else None


def facts_of(tx: Tx, event: Event, data: Mapping[str, Any]) -> dict[str, object]:
    """What conditions may speak of: the event's own fields (plain and as event.*), and as order.* the purchase that it
    is, or that has the same order number."""
    return triggers.event_facts(event.type, data, _order(tx, event, data))


def occasion_of(tx: Tx, invitation: Invitation) -> Event | None:
    """The event that a survey is about: the one it was planned by; for what staff start, what the customer had bought
    last when it was sent, or without a purchase what was delivered last."""
    if invitation.event_id:
        return tx.find_event(invitation.event_id)
    if invitation.trigger_id != triggers.BY_STAFF:
        return None
    for kind in ("purchase", "delivery"):
        for event in tx.events_of(invitation.customer_id, types=(kind,)):
            if invitation.sent_ms is None or event.occurred_ms <= invitation.sent_ms:
                return event
    return None


def _occasion(tx: Tx, invitation: Invitation) -> dict[str, object]:
    """The facts of what a survey is about."""
    event = occasion_of(tx, invitation)
    if event is None:
        return {}
    data = json.loads(event.data)
    return facts_of(tx, event, data) if invitation.event_id else triggers.event_facts("", {}, data)


def _order(tx: Tx, event: Event, data: Mapping[str, Any]) -> dict[str, Any]:
    number = data.get("order")
    if event.type == "purchase":
        return dict(data)
    if number is None:
        return {}
    for purchase in tx.events_of(event.customer_id, types=("purchase",)):
        bought = json.loads(purchase.data)
        if str(bought.get("order")) == str(number):
            return dict(bought)
    return {}


def same_order(cause: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two events may be about one order: their numbers are equal, or one of them names none."""
    numbers = [str(data["order"]) for data in (cause, other) if data.get("order") is not None]
    return len(set(numbers)) < 2


def overridable(reason: str) -> bool:
    """Whether a survey may be sent past this reason by who has the permission: rules 2 and 4 to 9 of the contact cap.
    Never past a stop, a block or an erasure; past the hours nobody needs to, it goes out when they open.

    >>> overridable("min_gap"), overridable("opted_out"), overridable("quiet_hours"), overridable("paused")
    (True, False, False, False)
    """
    return triggers.RULES.get(reason, 1) not in (1, 3)


def _is_for_later(decision: object) -> TypeGuard[triggers.Wait]:
    """Nothing speaks against it but the hour."""
    return isinstance(decision, triggers.Wait) and decision.reason == "quiet_hours"


def item_text(facts: Mapping[str, object], lang: str) -> str:
    """The bought thing as a customer would name it, of the order or else of the event itself; several as 「…ほか2点」.

    >>> item_text({"order.product": "【送料無料】ギフトセット"}, "ja")
    'ギフトセット'
    >>> item_text({"event.item": ["マグカップ", "コーヒー豆", "フィルター"]}, "ja")
    'マグカップほか2点'
    """
    places = ("order.product", "order.item", "event.product", "event.item")
    bought = next((facts[place] for place in places if facts.get(place)), "")
    first, *others = bought if isinstance(bought, list) else [bought]
    name = item_name(str(first))
    if not name or not others:
        return name
    return f"{name}ほか{len(others)}点" if lang == "ja" else f"{name} and {len(others)} more"


def chance_of(invitation_id: str) -> float:
    """0 ≤ x < 1 from an invitation's id: the same each time this invitation is decided about."""
    return int(hashlib.sha256(invitation_id.encode()).hexdigest()[:13], 16) / 16**13


def history_of(seen: Contacts) -> triggers.History:
    """What storage knows of a customer, as the contact cap wants it."""
    return triggers.History(**{f.name: getattr(seen, f.name) for f in fields(seen)})
