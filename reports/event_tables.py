"""Business events as tidy tables: a row per order, ticket, promise … (`reports.event_rows` reads each event). No I/O,
no "today".

Events come in any order and from any source; what is kept of them is columns, so a year of events fits. Source:
docs/events.md ("Types in use").
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.columns import Arrays, Codes, placed, texts_as_column, texts_of
from reports.event_rows import COLUMNS, READERS, Row
from reports.procedures import Floats, Ints
from reports.segments import DAY_MS, Behaviour, Deed

LOOK_BACK_DAYS = 365
LOOK_BACK_MS = LOOK_BACK_DAYS * DAY_MS
_CATEGORIES = {"purchases": ("customer", "product", "channel")}
"""Texts of which a table holds few, each many times."""
_IDS = frozenset({"order", "ticket", "promise", "session", "query"})
"""Texts that hardly repeat."""
_OCCURRED = "occurred_ms"
_OWN = "\n"
"""Before the number of a row that has no id: ids are stripped and so never begin with it."""


@dataclass(frozen=True, slots=True)
class Buying:
    """Who bought when, as arrays: a customer is a place in `ids`. Times are milliseconds UTC, days are local days since
    1970."""

    ids: pd.Index
    """Everybody with an id who ever bought or signed a contract, ascending."""
    first_ms: Ints
    """By customer: the first order or contract."""
    first_day: Ints
    who: Ints
    """By order, in order of time: the customer."""
    at_ms: Ints
    day: Ints
    days_who: Ints
    """By customer and day with an order, ascending."""
    days_ms: Ints
    """The first order of that day."""
    days_gap: Floats
    """Days since the customer's day with an order before; NaN for the first."""

    def between(self, start_ms: int, end_ms: int) -> slice:
        """The orders of [start, end)."""
        first, end = np.searchsorted(self.at_ms, (start_ms, end_ms))
        return slice(int(first), int(end))


@dataclass(frozen=True, slots=True)
class EventTables:
    """What happened in a shop. Times are milliseconds UTC, `day` is the local day as days since 1970; "" and NaN are
    unknown. A customer is the shop's own id, whatever chat they use; "" is a guest.

    Attributes:
        purchases: a row per order: customer, order, at_ms, day, amount (yen), cost (yen), units, product (SEVERAL when
            an order has more than one), discount, channel. Cancelled and test orders are not there, nor are their
            deliveries and returns. Of an order that was sent twice the first event says when, the last one what.
        deliveries: a row per delivered order: order, at_ms (the first), due_ms, units.
        returns: a row per return: order, at_ms, units.
        visits: a row per visit, bots left out: visitor, at_ms, converted.
        contracts: a row per step: customer, at_ms, what ("start", "renew", "cancel").
        referrals: a row per new customer who was referred, by the first to do so: customer, referrer, at_ms, rewarded
            ("yes", "no", "").
        posts: a row per public post: at_ms, incentivised ("yes", "no", "").
        tickets: a row per ticket: ticket, customer, opened_ms, replied_ms (first reply that was not automatic),
            resolved_ms (the last one; NaN while it is open, or open again).
        promises: a row per promise that was not called off and per delivery with a due time: kind ("promise",
            "delivery"), due_ms, kept_ms.
        searches: a row per search of the FAQ or the bot: at_ms, query (folded), hits.
        feedback: a row per FAQ or bot session that got an answer: session, at_ms, resolved.
        messages: a row per message delivered to or clicked by somebody: message, customer, at_ms, what ("delivered",
            "click").
        views: a row per page view: page, at_ms, seconds.
        surveys: a row per step of a survey of another tool: session, at_ms, what ("delivered", "started", "shown",
            "answered", "completed" …), question, via ("qr" for a card).
        cards: a row per shipment of QR cards: at_ms, cards.
    """

    purchases: pd.DataFrame
    buying: Buying
    deliveries: pd.DataFrame
    returns: pd.DataFrame
    visits: pd.DataFrame
    contracts: pd.DataFrame
    referrals: pd.DataFrame
    posts: pd.DataFrame
    tickets: pd.DataFrame
    promises: pd.DataFrame
    searches: pd.DataFrame
    feedback: pd.DataFrame
    messages: pd.DataFrame
    views: pd.DataFrame
    surveys: pd.DataFrame
    cards: pd.DataFrame
    first_ms: int | None
    """The earliest and the latest event of a type that has a table; None without any."""
    last_ms: int | None
    incomplete: int
    """Events of such a type without a field that its table cannot do without: they count nowhere."""


def event_tables(events: Iterable[Deed], tz: tzinfo) -> EventTables:
    """The tables of these events; types without a table are left out.

    Args:
        events: each once, in any order; `customer` is "" for an event about nobody.
        tz: of written times without an offset, and of the days of the orders.
    """
    raw = RawEvents(tz)
    raw.add(events)
    return raw.tables()


class RawEvents:
    """Events on their way to tables: columns of plain numbers, and of places in a list of texts."""

    def __init__(self, tz: tzinfo) -> None:
        self.tz = tz
        self._texts: dict[str, int] = {}
        self._rows = {name: _Rows(columns, self._texts) for name, columns in COLUMNS.items()}
        self._incomplete = array("q")

    def add(self, events: Iterable[Deed]) -> None:
        """Take events, each once, in any order; types without a table are left out."""
        for event in events:
            reading = READERS.get(event.type)
            if reading is None:
                continue
            table, read = reading
            row = read(event, self.tz)
            if row is None:
                self._incomplete.append(event.at_ms)
            else:
                self._rows[table].append(event.at_ms, row)

    def columns(self) -> Arrays:
        """What was taken, for `join`. Right for events that came oldest first."""
        found: dict[str, npt.NDArray[Any]] = {
            "texts": texts_as_column(list(self._texts)),
            "incomplete": np.frombuffer(self._incomplete, dtype=np.int64),
        }
        for table, rows in self._rows.items():
            if len(rows):
                found |= {f"{table} {name}": column for name, column in rows.columns().items()}
        return found

    def join(self, columns: Arrays, start_ms: int, end_ms: int) -> None:
        """Take those events of some columns that occurred in [start, end)."""
        texts = placed(texts_of(columns["texts"]), self._texts)
        self._incomplete.frombytes(columns["incomplete"][_within(columns["incomplete"], start_ms, end_ms)].tobytes())
        for table, rows in self._rows.items():
            occurred_ms = columns.get(f"{table} {_OCCURRED}")
            if occurred_ms is not None:
                rows.join({name: columns[f"{table} {name}"] for name in rows.names}, texts,
                          _within(occurred_ms, start_ms, end_ms))  # fmt: skip

    def first_orders(self) -> dict[str, int]:
        """Customer → when they first bought, of the purchases taken so far, cancelled ones included; guests are ""."""
        orders = self._rows["purchases"].columns()
        first_ms = np.full(len(self._texts), np.iinfo(np.int64).max, dtype=np.int64)
        np.minimum.at(first_ms, orders["customer"], orders[_OCCURRED])
        texts = list(self._texts)
        return {texts[code]: int(first_ms[code]) for code in np.unique(orders["customer"]).tolist()}

    def tables(self) -> EventTables:
        """The tables; nothing can be taken afterwards."""
        known = list(self._texts)
        self._texts.clear()
        spans = [span for rows in self._rows.values() if (span := rows.span()) is not None]
        frames = {name: self._rows.pop(name).frame(_CATEGORIES.get(name, ()), known) for name in COLUMNS}
        void = set(frames["purchases"].loc[frames["purchases"]["void"], "order"]) - {""}
        deliveries = _deliveries(frames["deliveries"][~frames["deliveries"]["order"].isin(void)])
        visits = frames["visits"]
        contracts = _ordered(frames["contracts"])
        purchases = _orders(frames.pop("purchases"), self.tz)
        return EventTables(
            purchases=purchases,
            buying=_buying(purchases, contracts, self.tz),
            deliveries=deliveries,
            returns=_ordered(frames["returns"][~frames["returns"]["order"].isin(void)]),
            visits=_ordered(visits[~visits["bot"]].drop(columns="bot")),
            contracts=contracts,
            referrals=_ordered(frames["referrals"]).drop_duplicates("customer", ignore_index=True),
            posts=_ordered(frames["posts"]),
            tickets=_tickets(_ordered(frames["ticket_steps"])),
            promises=_promises(_ordered(frames["promise_steps"]), deliveries),
            searches=_ordered(frames["searches"]),
            feedback=_feedback(_ordered(frames["feedback"])),
            messages=_ordered(frames["messages"]),
            views=_ordered(frames["views"]),
            surveys=_ordered(frames["surveys"]),
            cards=_ordered(frames["cards"]),
            first_ms=min((first for first, _ in spans), default=None),
            last_ms=max((last for _, last in spans), default=None),
            incomplete=len(self._incomplete),
        )


def _within(occurred_ms: npt.NDArray[Any], start_ms: int, end_ms: int) -> slice:
    first, end = np.searchsorted(occurred_ms, (start_ms, end_ms))
    return slice(int(first), int(end))


def local_days(at_ms: pd.Series, tz: tzinfo) -> pd.Series:
    """The local day of each instant, as days since 1970-01-01 (int64).

    >>> from zoneinfo import ZoneInfo
    >>> local_days(pd.Series([1_794_841_199_999, 1_794_841_200_000]), ZoneInfo("Asia/Tokyo")).tolist()
    [20773, 20774]
    """
    local = pd.to_datetime(at_ms.astype("int64"), unit="ms", utc=True).dt.tz_convert(tz).dt.tz_localize(None)
    days: pd.Series = (local - pd.Timestamp("1970-01-01")).dt.days.astype("int64")
    return days


class _Rows:
    """The rows of one table as columns, with the time of each event beside them. Texts that repeat are places in a list
    of texts; ids are there themselves."""

    def __init__(self, dtypes: Mapping[str, str], texts: dict[str, int]) -> None:
        self._dtypes = {_OCCURRED: "int64", **dtypes}
        self._texts = texts
        self._repeated = {name for name, dtype in dtypes.items() if dtype == "str" and name not in _IDS}
        make: Mapping[str, Callable[[], Any]] = {
            "str": list,
            "bool": bytearray,
            "int32": lambda: array("i"),
            "int64": lambda: array("q"),
            "float64": lambda: array("d"),
        }
        self._columns = {
            name: make["int32" if name in self._repeated else dtype]() for name, dtype in self._dtypes.items()
        }
        self._takers = tuple((column.append, name in self._repeated) for name, column in self._columns.items())

    def __len__(self) -> int:
        return len(self._columns[_OCCURRED])

    @property
    def names(self) -> Iterable[str]:
        """Of the columns."""
        return self._dtypes

    def append(self, at_ms: int, row: Row) -> None:
        texts = self._texts
        for (take, repeated), value in zip(self._takers, (at_ms, *row), strict=True):
            take(texts.setdefault(value, len(texts)) if repeated else value)

    def join(self, columns: Arrays, texts: Codes, inside: slice) -> None:
        """Take these rows of other columns, whose texts stand in the list at `texts`."""
        for name, column in self._columns.items():
            if isinstance(column, list):
                column += texts_of(columns[name])[inside]
            elif name in self._repeated:
                column.frombytes(texts[columns[name][inside]].tobytes())
            elif isinstance(column, bytearray):
                column += columns[name][inside].tobytes()
            else:
                column.frombytes(columns[name][inside].tobytes())

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The rows so far."""
        return {
            name: texts_as_column(column)
            if isinstance(column, list)
            else np.frombuffer(column, dtype=self._dtype(name))
            for name, column in self._columns.items()
        }

    def _dtype(self, name: str) -> str:
        return "int32" if name in self._repeated else self._dtypes[name]

    def span(self) -> tuple[int, int] | None:
        """When the first and the last of the events occurred."""
        occurred_ms = np.frombuffer(self._columns[_OCCURRED], dtype=np.int64)
        return (int(occurred_ms.min()), int(occurred_ms.max())) if occurred_ms.size else None

    def frame(self, categories: Iterable[str], texts: Sequence[str]) -> pd.DataFrame:
        """All of them; nothing can be taken afterwards."""
        self._takers = ()
        del self._columns[_OCCURRED]
        made: dict[str, Any] = {}
        for name in list(self._columns):
            column = self._columns.pop(name)
            if name not in self._repeated:
                made[name] = (
                    pd.array(column, dtype="str")
                    if isinstance(column, list)
                    else np.frombuffer(column, dtype=self._dtypes[name])
                )
                continue
            codes = np.frombuffer(column, dtype=np.int32)
            used = np.flatnonzero(np.bincount(codes, minlength=1)) if codes.size else codes
            if name in categories:
                used = np.array(sorted(used.tolist(), key=texts.__getitem__), dtype=np.int64)
            place = np.zeros(len(texts), dtype=np.int32)
            place[used] = np.arange(used.size)
            words = [texts[code] for code in used.tolist()]
            if name in categories:
                made[name] = pd.Categorical.from_codes(place[codes], categories=words)
            else:
                made[name] = pd.array(np.array(words, dtype=object)[place[codes]] if words else [], dtype="str")
        return pd.DataFrame(made)


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """By time, and at the same time by every column, so that the order in which events arrived leaves no trace."""
    at_ms = frame["at_ms"].to_numpy()
    if (at_ms[1:] < at_ms[:-1]).any():
        frame = frame.take(np.argsort(at_ms, kind="stable"))
    frame = frame.reset_index(drop=True)
    at_ms = frame["at_ms"].to_numpy()
    alike = at_ms[1:] == at_ms[:-1]
    if not alike.any():
        return frame
    tied = np.flatnonzero(np.append(alike, False) | np.insert(alike, 0, False))
    columns = ["at_ms", *(name for name in frame.columns if name != "at_ms")]
    places = np.arange(len(frame))
    places[tied] = frame.take(tied).sort_values(columns, kind="stable").index
    return frame.take(places).reset_index(drop=True)


def _orders(raw: pd.DataFrame, tz: tzinfo) -> pd.DataFrame:
    raw = _ordered(raw)
    key, names = pd.factorize(raw["order"])
    alone = (raw["order"] == "").to_numpy()
    # an order without a number is an order of its own
    key[alone] = len(names) + np.arange(int(alone.sum()))
    first = np.full(len(names) + int(alone.sum()), -1, dtype=np.int64)
    last = first.copy()
    last[key] = np.arange(len(raw))
    first[key[::-1]] = np.arange(len(raw))[::-1]
    kept = last >= 0
    kept[key[raw["void"].to_numpy()]] = False
    orders = raw.drop(columns="void")
    # in nearly every shop an order is sent once: then they stand as they are, without another copy of a year
    if not kept.all() or not np.array_equal(first, last):
        at_ms = raw["at_ms"].to_numpy()[first[kept]]
        orders = _ordered(orders.take(last[kept]).assign(at_ms=at_ms))
    return orders.assign(day=local_days(orders["at_ms"], tz))


def _buying(orders: pd.DataFrame, contracts: pd.DataFrame, tz: tzinfo) -> Buying:
    signed = contracts[contracts["what"] == "start"]
    bought = orders["customer"].cat.remove_unused_categories().cat
    ids = pd.Index(sorted({*bought.categories, *signed["customer"]} - {""}), dtype="str")
    # a guest's order has the place -1
    who = ids.get_indexer(bought.categories).astype(np.int64)[bought.codes] if len(orders) else _NOBODY
    named = who >= 0
    who, at_ms, day = who[named], orders["at_ms"].to_numpy()[named], orders["day"].to_numpy()[named]
    first_ms = np.full(len(ids), np.iinfo(np.int64).max, dtype=np.int64)
    first_ms[who[::-1]] = at_ms[::-1]
    np.minimum.at(first_ms, ids.get_indexer(signed["customer"]), signed["at_ms"].to_numpy())
    since, days = (int(day.min()), int(np.ptp(day)) + 1) if day.size else (0, 1)
    keys, places = np.unique(who * days + (day - since), return_index=True)
    days_who, days_day = keys // days, keys % days
    gap = np.append(np.nan, np.diff(days_day).astype(np.float64)) if keys.size else np.empty(0)
    gap[1:][np.diff(days_who) != 0] = np.nan
    return Buying(
        ids=ids,
        first_ms=first_ms,
        first_day=local_days(pd.Series(first_ms), tz).to_numpy(),
        who=who,
        at_ms=at_ms,
        day=day,
        days_who=days_who,
        days_ms=at_ms[places],
        days_gap=gap,
    )


_NOBODY = np.empty(0, dtype=np.int64)


def behaviours(tables: EventTables, before_ms: int) -> dict[str, Behaviour]:
    """Customer → what they did in the 365 days before an instant; who did nothing is not there. A referral is the
    referrer's.

    Args:
        tables: what happened, in these days at least.
        before_ms: the instant; what happened then or later does not count.
    """
    since_ms = before_ms - LOOK_BACK_MS

    def inside(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["at_ms"] >= since_ms) & (frame["at_ms"] < before_ms)]

    first, end = np.searchsorted(tables.purchases["at_ms"].to_numpy(), (since_ms, before_ms))
    orders = tables.purchases[["customer", "day", "discount"]].iloc[first:end]
    orders = orders[orders["customer"] != ""]
    bought = orders.groupby("customer", observed=True).agg(days=("day", "nunique"), orders=("day", "size"),
                                                           discounted=("discount", "sum"))  # fmt: skip
    contracts = inside(tables.contracts)
    renewed = contracts.loc[contracts["what"] == "renew", "customer"].value_counts()
    brought = inside(tables.referrals)["referrer"].value_counts()
    renewals, referrals = (dict(zip(found.index, found.tolist(), strict=True)) for found in (renewed, brought))
    found = {
        customer: Behaviour(days, count, discounted, renewals.get(customer, 0), referrals.get(customer, 0))
        for customer, days, count, discounted in bought.itertuples(name=None)
    }
    for customer in {**renewals, **referrals}:
        found.setdefault(customer, Behaviour(renewals=renewals.get(customer, 0), referrals=referrals.get(customer, 0)))
    return found


def _deliveries(raw: pd.DataFrame) -> pd.DataFrame:
    raw = _ordered(raw)
    key = raw["order"].where(raw["order"] != "", _OWN + raw.index.astype("str"))
    return raw.assign(key=key).drop_duplicates("key", keep="first", ignore_index=True).drop(columns="key")


def _tickets(steps: pd.DataFrame) -> pd.DataFrame:
    opened = steps[steps["what"] == "opened"].groupby("ticket", sort=False)["at_ms"]
    tickets = pd.DataFrame({"opened_ms": opened.min(), "again_ms": opened.max()})
    tickets["customer"] = steps[steps["customer"] != ""].groupby("ticket")["customer"].first()
    tickets["customer"] = tickets["customer"].fillna("").astype("str")
    after = steps.join(tickets["opened_ms"], on="ticket")
    after = after[after["at_ms"] >= after["opened_ms"]]
    tickets["replied_ms"] = (
        after[(after["what"] == "replied") & ~after["automatic"]].groupby("ticket")["at_ms"].min().astype("float64")
    )
    resolved = after[after["what"] == "resolved"].groupby("ticket")["at_ms"].max().astype("float64")
    tickets["resolved_ms"] = resolved
    # opened again after it was resolved: open
    tickets["resolved_ms"] = tickets["resolved_ms"].where(tickets["resolved_ms"] >= tickets["again_ms"])
    tickets.index.name = "ticket"
    return tickets.drop(columns="again_ms").reset_index()


def _promises(steps: pd.DataFrame, deliveries: pd.DataFrame) -> pd.DataFrame:
    key = steps["promise"].where(steps["promise"] != "", _OWN + steps.index.astype("str"))
    void = set(key[steps["void"]])
    told = steps.assign(key=key)[~key.isin(void)].groupby("key", sort=False)[["due_ms", "kept_ms"]].last()
    made = pd.DataFrame({"kind": "promise", "due_ms": told["due_ms"], "kept_ms": told["kept_ms"]})
    due = deliveries[deliveries["due_ms"].notna()]
    sent = pd.DataFrame(
        {"kind": "delivery", "due_ms": due["due_ms"], "kept_ms": due["at_ms"].astype("float64")},
    )
    both = [frame for frame in (made[made["due_ms"].notna()], sent) if len(frame)]
    if not both:
        return sent.astype({"kind": "str"})
    return pd.concat(both, ignore_index=True).astype({"kind": "str"})


def _feedback(raw: pd.DataFrame) -> pd.DataFrame:
    key = raw["session"].where(raw["session"] != "", _OWN + raw.index.astype("str"))
    return raw.assign(key=key).drop_duplicates("key", keep="last", ignore_index=True).drop(columns="key")
