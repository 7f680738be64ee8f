"""How far the shop is heard: referrals, public posts, messages, pages, and surveys of another tool.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reports.event_tables import EventTables
from reports.kpi.window import (
    MOST_PARTS,
    Window,
    count_figure,
    figure,
    sampled,
    share_figure,
)
from reports.metrics import Result
from reports.procedures import Estimate
from reports.segments import DAY_MS

RESPONSE_MS = 7 * DAY_MS
DWELL_AT_MOST_S = 1800.0


def referrals(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """New customers who came through a customer: how many, how many of them against a reward, and how many per 100
    customers known by the end of the window."""
    inside = window.of(tables.referrals)
    by_referrer = inside["referrer"].value_counts()
    known = tables.buying.first_ms < window.end_ms
    places = tables.buying.ids.get_indexer(by_referrer.index)
    strangers = sum(1 for place in places.tolist() if place < 0 or not known[place])
    n = int(known.sum()) + strangers
    brought = np.zeros(n)
    brought[: len(by_referrer)] = by_referrer.to_numpy()
    kinds = inside["rewarded"].value_counts()
    counts = {
        name: int(kinds.get(code, 0)) for name, code in (("unrewarded", "no"), ("rewarded", "yes"), ("unknown", ""))
    }
    per_100 = sampled(brought, "mean", 100.0)
    return (
        count_figure(window, "referrals", len(inside), n, unit="per_customer", counts=counts if len(inside) else {}),
        count_figure(window, "referrals", counts["rewarded"], n, variant="rewarded", unit="per_customer"),
        figure(window, "referrals", "per_100", per_100, n, form="per_100", unit="per_customer"),
    )


def posts(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """ugc_posts: public posts, those for which something was given apart, and those of which nobody knows."""
    kinds = window.of(tables.posts)["incentivised"].value_counts()
    n = int(kinds.sum())
    return tuple(
        count_figure(window, "ugc_posts", int(kinds.get(code, 0)), n, variant=name)
        for name, code in (("organic", "no"), ("incentivised", "yes"), ("unknown", ""))
    )


def click_through(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """ctr: share of the people a message was delivered to in the window who clicked in it, per message."""
    delivered = window.of(tables.messages[tables.messages["what"] == "delivered"])
    reached = delivered.drop_duplicates(["message", "customer"])
    clicked = tables.messages[tables.messages["what"] == "click"].drop_duplicates(["message", "customer"])
    both = reached.merge(clicked[["message", "customer"]].assign(clicked=True), how="left", on=["message", "customer"])
    found = both.groupby("message")["clicked"].agg(["size", "count"])
    most = sorted(found.index, key=lambda name: (-found.loc[name, "size"], name))[:MOST_PARTS]
    if not most:
        return (share_figure(window, "ctr", 0, 0, unit="per_customer"),)
    return tuple(
        share_figure(
            window,
            "ctr",
            int(found.loc[name, "count"]),
            int(found.loc[name, "size"]),
            segment=f"message={name}",
            unit="per_customer",
        )
        for name in most
    )


def page_dwell(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """Views and median dwell in seconds of each page; longer than 1800 s is cut to 1800, views without a time are
    missing."""
    inside = window.of(tables.views)
    views = inside["page"].value_counts()
    out: list[Result] = []
    for page in sorted(views.index, key=lambda name: (-views[name], name))[:MOST_PARTS]:
        seconds = inside.loc[inside["page"] == page, "seconds"].dropna().clip(upper=DWELL_AT_MOST_S)
        segment, total = f"page={page}", int(views[page])
        found = sampled(seconds.to_numpy(dtype=np.float64), "median")
        out.append(
            figure(
                window,
                "page_dwell",
                "median",
                found,
                len(seconds),
                form="seconds",
                segment=segment,
                missing=total - len(seconds),
            )
        )
        out.append(
            figure(
                window,
                "page_dwell",
                "views",
                Estimate(float(total), None, None, "none"),
                total,
                form="count",
                segment=segment,
            )
        )
    return tuple(out)


def survey_rates(tables: EventTables, window: Window) -> tuple[Result, ...]:
    """response_rate (answered within 7 days / delivered), completion_rate (came to the end / answered anything), the
    drop-off of each question (1 - answered / shown), and apart the response to QR cards (sessions / cards shipped):
    of surveys of another tool, by their events."""
    steps = tables.surveys
    cards = window.of(tables.cards)["cards"].sum()
    by_card = set(steps.loc[steps["via"] == "qr", "session"])
    answered = steps[steps["what"] == "answered"].groupby("session")["at_ms"].min()
    delivered = steps[(steps["what"] == "delivered") & ~steps["session"].isin(by_card)]
    sent = window.of(delivered).groupby("session")["at_ms"].min()
    first = answered.reindex(sent.index)
    responded = int(((first >= sent) & (first < sent + RESPONSE_MS)).sum())
    young = bool((sent > window.as_of_ms - RESPONSE_MS).any())
    begun = answered[(answered >= window.start_ms) & (answered < window.end_ms)]
    ended = set(steps.loc[steps["what"] == "completed", "session"])
    completed = sum(1 for session in begun.index if session in ended)
    out = [
        share_figure(window, "response_rate", responded, len(sent), flags=("immature",) if young else ()),
        share_figure(window, "completion_rate", completed, len(begun)),
    ]
    asked = steps[(steps["question"] != "") & steps["what"].isin(["shown", "answered"])]
    shown = window.of(asked[asked["what"] == "shown"]).drop_duplicates(["session", "question"])
    told = asked.loc[asked["what"] == "answered", ["session", "question"]].drop_duplicates().assign(answered=True)
    both = shown.merge(told, how="left", on=["session", "question"])
    counted = both.groupby("question", sort=False)["answered"].agg(["size", "count"])
    out += drop_off({str(name): (int(row["size"]), int(row["count"])) for name, row in counted.iterrows()}, window)
    started = window.of(steps[(steps["what"] == "started") & (steps["via"] == "qr")])["session"].nunique()
    if by_card or cards:
        out.append(card_rate(started, int(cards), window))
    return tuple(out)


def drop_off(questions: Mapping[str, tuple[int, int]], window: Window) -> tuple[Result, ...]:
    """completion_rate's `drop_off` per question, in the order given: who was shown it and never answered or skipped it.

    Args:
        questions: question → (sessions in which it was shown, those of them in which it was answered or skipped).
        window: the window.
    """
    return tuple(
        share_figure(window, "completion_rate", shown - answered, shown, variant="drop_off", segment=f"question={name}")
        for name, (shown, answered) in questions.items()
    )


def card_rate(sessions: int, cards: int, window: Window) -> Result:
    """response_rate's `qr`: sessions begun by a card / cards shipped; none and `inconsistent` with more sessions than
    cards."""
    if sessions > cards > 0:
        found = Estimate(None, None, None, "wilson", ("inconsistent",))
        return figure(window, "response_rate", "qr", found, cards, form="share")
    return share_figure(window, "response_rate", sessions if cards else 0, cards, variant="qr")
