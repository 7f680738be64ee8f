"""Everything that is set: the environment and .env (`Settings`), koe.yaml (`Shop`), the surveys (`Library`), as values.
They are read once, by bot.loading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot import files
from flows.experiments import Experiment
from flows.survey import Library
from flows.triggers import Clock, ContactRules, Duration, Hours, Name, Span, TriggerRule
from reports.comments.vocabulary import FreeTextSettings
from reports.trust import account as trust

Lang = Literal["ja", "en"]

# --------------------------------------------------------------------------------------------------- settings


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _bare_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", value):
        raise ValueError("must be an address such as https://koe.example.com")
    return value.rstrip("/")


Secret = Annotated[SecretStr, BeforeValidator(lambda value: "" if value is None else value)]
"""Empty when it is not set."""
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
"""Several values, comma-separated, so that a secret can be changed without a gap."""
Url = Annotated[str, AfterValidator(_bare_url)]


class Settings(BaseSettings):
    """The environment's part of the configuration, named as in .env.example.

    A platform none of whose settings are there is off. `load` reads .env too and explains what is wrong.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", case_sensitive=True, env_ignore_empty=True, populate_by_name=True
    )

    database_url: str = Field("sqlite:///koe.db", alias="KOE_DATABASE_URL", repr=False)
    config: Path = Field(Path("koe.yaml"), alias="KOE_CONFIG")
    flows_dir: Path | None = Field(None, alias="KOE_FLOWS_DIR")
    templates_dir: Path | None = Field(None, alias="KOE_TEMPLATES_DIR")
    host: str = Field("127.0.0.1", alias="KOE_HOST")
    port: int = Field(8000, alias="KOE_PORT", ge=0, le=65535)
    public_url: Url | None = Field(None, alias="KOE_PUBLIC_URL")
    secret_key: Secret = Field(SecretStr(""), alias="KOE_SECRET_KEY")
    events_secrets: Secrets = Field((), alias="KOE_EVENTS_SECRETS")
    log_format: Literal["text", "json"] = Field("text", alias="KOE_LOG_FORMAT")

    line_channel_secrets: Secrets = Field((), alias="LINE_CHANNEL_SECRETS")
    line_channel_access_token: Secret = Field(SecretStr(""), alias="LINE_CHANNEL_ACCESS_TOKEN")
    line_api_base_url: Url = Field("https://api.line.me", alias="LINE_API_BASE_URL")
    line_basic_id: str = Field("", alias="LINE_BASIC_ID", pattern=r"^$|^@[a-z0-9._-]{3,18}$")
    line_relay_url: Url | None = Field(None, alias="LINE_RELAY_URL")

    slack_bot_token: Secret = Field(SecretStr(""), alias="SLACK_BOT_TOKEN")
    slack_signing_secrets: Secrets = Field((), alias="SLACK_SIGNING_SECRETS")
    slack_app_token: Secret = Field(SecretStr(""), alias="SLACK_APP_TOKEN")
    slack_api_base_url: Url = Field("https://slack.com/api", alias="SLACK_API_BASE_URL")

    shopify_webhook_secrets: Secrets = Field((), alias="SHOPIFY_WEBHOOK_SECRETS")
    stripe_webhook_secrets: Secrets = Field((), alias="STRIPE_WEBHOOK_SECRETS")
    zendesk_webhook_secrets: Secrets = Field((), alias="ZENDESK_WEBHOOK_SECRETS")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if not re.match(r"(sqlite:///|postgresql://)\S", value):
            raise ValueError("must start with sqlite:/// or postgresql://")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # the environment is handed to `read_settings`, so that tests and `koe demo` can hand over another one
        return (init_settings,)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every setting, as it is written in the environment."""
        return tuple(cast(str, field.alias) for field in cls.model_fields.values())

    @property
    def without_effect(self) -> tuple[str, ...]:
        """What is set and asked by nothing: secrets for routes that are not there yet."""
        of_others = ("shopify_webhook_secrets", "stripe_webhook_secrets", "zendesk_webhook_secrets")
        return tuple(name.upper() for name in of_others if getattr(self, name))

    @property
    def line_on(self) -> bool:
        """True when Koe talks in LINE."""
        return bool(self.line_channel_secrets and self.line_channel_access_token.get_secret_value())

    @property
    def slack_on(self) -> bool:
        """True when Koe talks in Slack."""
        return bool(self.slack_bot_token.get_secret_value() and (self.slack_signing_secrets or self.slack_socket_mode))

    @property
    def slack_socket_mode(self) -> bool:
        """True when Slack is reached over a socket, and needs no public address."""
        return bool(self.slack_app_token.get_secret_value())


# --------------------------------------------------------------------------------------------------- koe.yaml

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CHANNEL_ID = r"^[CG][A-Z0-9]{2,20}$"
_STAFF_ID = r"^[UWS][A-Z0-9]{2,20}$"
_PERSON_ID = r"^[UW][A-Z0-9]{2,20}$"
_LATIN_ENDS = 0x250
"""Letters below are Latin ones, with all their accents."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Section):
    """A text in each language."""

    ja: Annotated[str, Field(min_length=1, max_length=200)]
    en: Annotated[str, Field(min_length=1, max_length=200)]

    def in_(self, lang: str) -> str:
        return self.en if lang == "en" else self.ja


def _days(value: object) -> object:
    if not isinstance(value, str):
        return value
    days: set[int] = set()
    for part in value.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in _WEEKDAYS or (dash and last not in _WEEKDAYS):
            raise ValueError(f"{value!r} names no weekdays; write mon-fri, or mon,wed,fri")
        start, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last or first)
        if start > end:
            raise ValueError(f"{value!r} runs over the end of the week; write it as a list such as sat,sun,mon")
        days.update(range(start, end + 1))
    return tuple(sorted(days))


def _public_holidays(country: str | None) -> Container[date]:
    """The public holidays of a country (ISO code: JP), of any year; nothing for None.

    Raises:
        ValueError: when the country is not known.
    """
    if country is None:
        return ()
    import holidays  # a tenth of a second, and only shops with holidays need it

    try:
        known: Container[date] = holidays.country_holidays(country)
    except NotImplementedError as error:
        raise ValueError(f"{country!r} is no country whose holidays are known; write an ISO code such as JP") from error
    return known


def _holidays(value: str | None) -> str | None:
    _public_holidays(value)
    return value


class SupportHours(_Section):
    """When somebody answers customers: what promised times are reckoned from."""

    days: Annotated[
        tuple[int, ...],
        BeforeValidator(_days),
        WithJsonSchema({"type": "string", "examples": ["mon-fri", "mon,wed,fri"]}),
    ] = (0, 1, 2, 3, 4)
    """Weekdays, Monday 0, ascending."""
    hours: Hours
    holidays: Annotated[str, AfterValidator(_holidays)] | None = None
    """Country whose public holidays are kept: JP."""

    @property
    def closed(self) -> Container[date]:
        """The public holidays of any year."""
        return _public_holidays(self.holidays)


def _retention(value: object) -> object:
    match = re.fullmatch(r"([1-9][0-9]{0,3})(y|mo|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no length of time; write 2y, 18mo or 90d")
    return int(match[1]), match[2]


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone; write a name such as Asia/Tokyo") from error
    return value


class Unhappy(_Section):
    """When an answer brings the apology, a case and an alert. null turns a limit off."""

    satisfaction_max: Annotated[int, Field(ge=1, le=5)] | None = 2
    effort_min: Annotated[int, Field(ge=1, le=7)] | None = 6
    nps_max: Annotated[int, Field(ge=0, le=10)] | None = 4
    words: tuple[Annotated[str, Field(min_length=1, max_length=40)], ...] = ("交換", "返品", "届かない")


class Escalation(_Section):
    """Who else is told of a case that nobody has answered."""

    after_ms: Span = Field(alias="after")
    """Support hours since the case was opened: nights, weekends and holidays do not count."""
    to: Annotated[tuple[Annotated[str, Field(pattern=_STAFF_ID)], ...], Field(min_length=1)]


class Alerts(_Section):
    """Where unhappy customers are shown to staff."""

    channel: Annotated[str, Field(pattern=_CHANNEL_ID)]
    grace_ms: Duration = Field(default=5 * 60_000, alias="grace")
    """How long a mis-tap can be corrected before anybody is alerted."""
    follow_up_ms: Span | None = Field(default=86_400_000, alias="follow_up")
    """When a customer may be asked whether all is well, after a case was settled; null: never."""
    escalate: tuple[Escalation, ...] = ()


class Referral(_Section):
    """The invitation to refer somebody, shown after a survey to anyone without an open case, whatever the score."""

    reward: Words | None = None
    """What both receive; null: nothing. It never depends on answers."""
    url: Url | None = None
    """Where the friend begins."""
    every_ms: Span = Field(default=180 * 86_400_000, alias="every")
    """How long a customer is not asked again."""


class DigestWhere(_Section):
    """What a digest is limited to."""

    segment: str | None = None
    touchpoint: str | None = None
    channel: Literal["line", "slack"] | None = None


class DigestRule(_Section):
    """One digest: where, how often, when, in which language, about what."""

    id: Name
    channel: Annotated[str, Field(pattern=_CHANNEL_ID)]
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    at_minute: Clock = Field(default=9 * 60, alias="at")
    every: Literal["week", "month"] = "week"
    """A monthly one comes on the first such weekday of the month, about the month before."""
    on_holiday: Literal["post", "next_working_day"] = "post"
    """What becomes of one that is due on a day on which nobody is there."""
    language: Lang | None = None
    primary_metric: str | None = None
    """What it leads with; None = what the shop's digests lead with."""
    filters: DigestWhere = Field(default=DigestWhere(), alias="where")

    @property
    def time(self) -> time:
        """The local time at which it appears."""
        return time(self.at_minute // 60, self.at_minute % 60)

    @property
    def where(self) -> dict[str, str]:
        """{"segment": …, "touchpoint": …, "channel": …}, those that are given."""
        return self.filters.model_dump(exclude_none=True)


StaffIds = tuple[Annotated[str, Field(pattern=_STAFF_ID)], ...]


_POINTS = Annotated[float, Field(allow_inf_nan=False)]


class HalfLife(_Section):
    """After how long half of what happened is forgotten."""

    deposit: Duration = trust.DEFAULT.half_life_deposit_ms
    withdrawal: Duration = trust.DEFAULT.half_life_withdrawal_ms


class TrustBands(_Section):
    """From which balance on an account is called good, and solid; below 0 it is overdrawn."""

    good: _POINTS = trust.DEFAULT.good_from
    solid: _POINTS = trust.DEFAULT.solid_from


class TrustDropRule(_Section):
    """Which fall of a balance is reported."""

    points: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    within: Duration = trust.DEFAULT.drop_within_ms


class TrustTimes(_Section):
    """What is soon, late and too late."""

    fast_reply: Duration = trust.DEFAULT.fast_reply_ms
    reply: Duration = trust.DEFAULT.reply_ms
    very_late: Duration = trust.DEFAULT.very_late_ms
    resolve: Duration | None = trust.DEFAULT.resolve_ms
    """null: nothing is made of how long a complaint takes."""


def _known(names: Iterable[str], what: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    known = sorted(names)

    def check(value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name not in known:
                raise ValueError(f"there is no {what} {name}{files.hint(name, known)}")
        return value

    return check


def _codes(value: object) -> object:
    """{"9-10": 2, "7": 0} as {9: 2, 10: 2, 7: 0}."""
    if not isinstance(value, dict):
        return value
    points: dict[int, object] = {}
    for written, point in value.items():
        match = re.fullmatch(r"([0-9]{1,2})(?:-([0-9]{1,2}))?", str(written).strip())
        codes = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not codes:
            raise ValueError(f"{written!r} names no answers; write 9, or 9-10")
        for code in codes:
            if code in points:
                raise ValueError(f"the answer {code} stands twice")
            points[code] = point
    return points


class Trust(_Section):
    """The trust balance: every number of the account; what is left out stays as it is."""

    weights: Annotated[dict[str, _POINTS], AfterValidator(_known(trust.TYPES, "event type"))] = Field(
        default_factory=dict
    )
    """Event type → points."""
    survey: Annotated[
        dict[
            str,
            Annotated[
                dict[int, _POINTS],
                BeforeValidator(_codes),
                WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}}),
            ],
        ],
        AfterValidator(_known(trust.SURVEY, "instrument")),
    ] = Field(default_factory=dict)
    """Instrument → answers → points, for all its answers: those that are left out give none."""
    half_life: HalfLife = HalfLife()
    floor: _POINTS = trust.DEFAULT.floor
    cap: _POINTS = trust.DEFAULT.cap
    bands: TrustBands = TrustBands()
    cooldown: Duration = trust.DEFAULT.cooldown_ms
    recovery: Annotated[float, Field(ge=0, lt=1)] = trust.DEFAULT.recovery_share
    """The share of a failure that can be made good."""
    drop: TrustDropRule | None = TrustDropRule()
    """null: no fall is reported."""
    times: TrustTimes = TrustTimes()

    @property
    def rules(self) -> trust.Rules:
        """The section as the account wants it."""
        drop = self.drop
        return trust.Rules(
            weights={**trust.DEFAULT.weights, **self.weights},
            survey={**trust.DEFAULT.survey, **self.survey},
            half_life_deposit_ms=self.half_life.deposit,
            half_life_withdrawal_ms=self.half_life.withdrawal,
            floor=self.floor,
            cap=self.cap,
            good_from=self.bands.good,
            solid_from=self.bands.solid,
            cooldown_ms=self.cooldown,
            recovery_share=self.recovery,
            drop_points=None if drop is None else drop.points,
            drop_within_ms=trust.DEFAULT.drop_within_ms if drop is None else drop.within,
            fast_reply_ms=self.times.fast_reply,
            reply_ms=self.times.reply,
            very_late_ms=self.times.very_late,
            resolve_ms=self.times.resolve,
        )


def _year(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Percent = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
_CutOff = Annotated[tuple[Annotated[int, Field(ge=-100, le=100)], ...], Field(min_length=1, max_length=101)]
_Note = Annotated[str, Field(min_length=1, max_length=300)]


class Kpis(_Section):
    """What the figures from business events need and no event says. Yen, and fractions of 1."""

    reply_within_ms: Duration = Field(default=24 * 3_600_000, alias="reply_within")
    """By when an enquiry is answered."""
    gross_margin: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """Where purchases carry no cost."""
    acquisition_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    retention_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Both per customer; the latter over all the years."""
    years: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    """How long a customer stays."""


class Benchmark(_Section):
    """A published figure to stand beside a score, and how it came about."""

    metric: str
    value: _Percent
    """On the scale of the score: nets -100 to 100, shares 0 to 100, means on the scale of the question."""
    ci: tuple[_Percent, _Percent] | None = None
    """The published 95 % interval."""
    n: Annotated[int, Field(ge=1)] | None = None
    good: Annotated[int, Field(ge=0)] | None = None
    """Published count of good answers among n: then two samples are compared, not a sample with a number."""
    bad: Annotated[int, Field(ge=0)] | None = None
    positive: _CutOff | None = None
    """The codes that were counted as good, where they are not those of the metric."""
    negative: _CutOff | None = None
    industry: _Note
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    year: Annotated[
        str,
        BeforeValidator(_year),
        Field(pattern="^[0-9]{4}(-(0[1-9]|1[0-2]))?$"),
        WithJsonSchema({"type": ["integer", "string"], "examples": [2025, "2025-06"]}),
    ]
    survey_kind: Literal["relational", "transactional"]
    wording: _Note
    scale: Annotated[str, Field(pattern="^[0-9]{1,3}[-–〜][0-9]{1,3}$")]
    source: _Note
    url: Url
    licence_note: _Note

    @model_validator(mode="after")
    def _adds_up(self) -> Benchmark:
        if self.ci is not None and not self.ci[0] <= self.value <= self.ci[1]:
            raise ValueError(f"the value {self.value:g} lies outside its ci {self.ci[0]:g} to {self.ci[1]:g}")
        counted = (self.good or 0) + (self.bad or 0)
        if counted and self.n is None:
            raise ValueError("good and bad are counts among n: write n too, or leave them out")
        if self.n is not None and counted > self.n:
            raise ValueError(f"good and bad are {counted} answers together, more than n, {self.n}")
        return self


class Staff(_Section):
    """Who may do what in Slack: user ids (U…), or user groups (S…). A list that is left out falls back to another; an
    empty one means the managers only."""

    managers: StaffIds = ()
    """May do everything."""
    may_trigger: StaffIds = ()
    may_handle_cases: StaffIds | None = None
    may_read_comments: StaffIds | None = None
    may_override: StaffIds | None = None
    may_export: StaffIds | None = None
    may_erase: StaffIds | None = None
    names: dict[Annotated[str, Field(pattern=_PERSON_ID)], Words] = {}
    """By user id: how customers read the name of who writes to them."""

    def name_in(self, lang: str, user_id: str, told: str) -> str:
        """The name with which somebody writes to a customer: the one given here, else the one that Slack tells; "" for
        one that a reader of English could not read.

        >>> Staff().name_in("en", "U0STAFF", "Emma"), Staff().name_in("en", "U0STAFF", "高木")
        ('Emma', '')
        """
        if user_id in self.names:
            return self.names[user_id].in_(lang)
        readable = lang != "en" or all(ord(char) < _LATIN_ENDS for char in told if char.isalpha())
        return told if readable else ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The user groups (S…) named in any list, each once."""
        return tuple(entry for entry in self._named if entry.startswith("S"))

    @property
    def people(self) -> tuple[str, ...]:
        """The people (U…, W…) named one by one in any list, each once."""
        return tuple(entry for entry in self._named if not entry.startswith("S"))

    @property
    def _named(self) -> dict[str, None]:
        return dict.fromkeys(entry for value in self.model_dump(exclude={"names"}).values() for entry in value or ())


class Shop(_Section):
    """koe.yaml: how one shop asks its customers."""

    brand: Words
    team: Words = Words(ja="お客さま窓口", en="our team")
    privacy_url: Url
    support_hours: SupportHours
    retention: Annotated[
        tuple[int, Literal["y", "mo", "d"]],
        BeforeValidator(_retention),
        WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,3}(y|mo|d)$"}),
    ]
    """How long answers are kept: (2, "y")."""
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Tokyo"
    language: Lang = "ja"
    primary_metric: str = "nps"
    repeat_interval_ms: Span | None = Field(
        default=None, alias="repeat_interval", description="Usual time between two purchases of a customer: 60d."
    )
    triggers: tuple[TriggerRule, ...] = ()
    contact: ContactRules = ContactRules()
    unhappy: Unhappy = Unhappy()
    alerts: Alerts | None = None
    digests: tuple[DigestRule, ...] = ()
    staff: Staff = Staff()
    trust: Trust = Trust()
    targets: dict[str, float] = Field(default_factory=dict)
    kpis: Kpis = Kpis()
    experiments: tuple[Experiment, ...] = ()
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")] = "JP"
    """Where the customers are asked: figures of other countries are not comparable."""
    benchmarks: tuple[Benchmark, ...] = ()
    flows: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Other instruments for questions of a flow: {after_support: {effort: ces_ease}}."""
    free_text: FreeTextSettings = FreeTextSettings()
    referral: Referral | None = None
    ask_to_quote: bool = False
    """Whether customers who wrote a comment are asked, once, if it may be quoted outside the company."""

    @property
    def tz(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def retention_days(self) -> int:
        """For how many days answers are kept; a month counts 31, a year 366."""
        count, unit = self.retention
        return count * {"y": 366, "mo": 31, "d": 1}[unit]

    @property
    def rewards_referrals(self) -> bool:
        """Whether who refers somebody receives something: such referrals are counted apart."""
        return self.referral is not None and self.referral.reward is not None

    def brand_in(self, lang: str) -> str:
        """The shop's name as the customer knows it."""
        return self.brand.in_(lang)

    def team_in(self, lang: str) -> str:
        """The people who answer customers."""
        return self.team.in_(lang)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is set, checked."""

    settings: Settings
    shop: Shop
    library: Library
