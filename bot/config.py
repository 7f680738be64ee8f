"""Everything that is set: the environment and .env (`Settings`), koe.yaml (`Shop`), the surveys (`Library`).

Read once, by `load`; whatever is wrong is named together, with file and line and what to do about it.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import time
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
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bot import experiments, files, promises
from bot.signatures import usable_webhook_secret
from flows.builtin import builtin_definitions, builtin_library
from flows.experiments import Experiment
from flows.flow import Rules
from flows.source import DefinitionErrors, Problem, Source
from flows.source import Path as SourcePath
from flows.survey import Library
from flows.triggers import Clock, ContactRules, Duration, Hours, Name, Span, TriggerRule
from reports import trust
from reports.kpi_words import TARGETS
from reports.vocabulary import FreeTextSettings

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


def _holidays(value: str | None) -> str | None:
    promises.closed_days(value)
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

    @model_validator(mode="after")
    def _once_each(self) -> Shop:
        for name, ids in (
            ("triggers", [r.id for r in self.triggers]),
            ("digests", [r.id for r in self.digests]),
            ("experiments", [e.id for e in self.experiments]),
        ):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{name}: the id {twice[0]} stands twice; each needs its own")
        if any(rule.id == "staff" for rule in self.triggers):
            raise ValueError("triggers: the id staff is kept for surveys started with /survey; choose another")
        return self

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


class ConfigErrors(Exception):
    """The configuration cannot be used; `.problems` is everything that is wrong, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(
    settings: Settings | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
) -> Config:
    """The whole configuration: the environment, .env, the koe.yaml they name and every flow.

    Args:
        settings: Settings that are known already; then only koe.yaml and the flows are read.
        environ: The environment; that of the process when left out. It wins over the .env file.
        env_file: The .env file; a missing one is an empty one.

    Raises:
        ConfigErrors: with every problem at once.
    """
    problems: list[Problem] = []
    if settings is None:
        settings = read_settings(os.environ if environ is None else environ, env_file, problems)
    shop, library = read_shop(settings.config, settings.flows_dir, problems)
    if problems or shop is None or library is None:
        raise ConfigErrors(problems)
    return Config(settings=settings, shop=shop, library=library)


# ------------------------------------------------------------------------------------------- reading settings

ENVIRONMENT = "environment"
"""The `file` of a problem with a variable that came from the environment."""

_LINE_NEEDS = ("LINE_CHANNEL_SECRETS", "LINE_CHANNEL_ACCESS_TOKEN")
_OURS = re.compile(r"(KOE|LINE|SLACK|SHOPIFY|STRIPE|ZENDESK)_[A-Z0-9_]+")
_PLACEHOLDER = re.compile(
    r"(^|[-_ <])your[-_ ]|change[-_ ]?me|replace[-_ ]?me|placeholder|x{6,}|^<.*>$|\.\.\.|…"
    r"|^(todo|tbd|secret|token|none)$|^(xoxb|xapp|whsec)[-_]?$",
    re.IGNORECASE,
)
_SECRET_NAMES = tuple(
    cast(str, field.alias) for field in Settings.model_fields.values() if "Secret" in str(field.annotation)
)
_PREFIXES = {"SLACK_BOT_TOKEN": "xoxb-", "SLACK_APP_TOKEN": "xapp-", "KOE_EVENTS_SECRETS": "whsec_"}


def read_settings(environ: Mapping[str, str], env_file: Path | None, problems: list[Problem]) -> Settings:
    """The settings as far as they can be used; what is wrong is added to `problems`, without any secret."""
    written = files.EnvFile(".env") if env_file is None else files.read_env(env_file, problems)
    known = set(Settings.names())
    given = {name: value for name, value in {**written.values, **environ}.items() if name in known and value.strip()}

    def blame(name: str, message: str) -> None:
        if name in written.lines and name not in environ:
            problems.append(Problem(written.name, written.lines[name], f"{name}: {message}"))
        else:
            problems.append(Problem(ENVIRONMENT, 0, f"{name}: {message}"))

    for name, line in written.lines.items():
        if name not in known and _OURS.fullmatch(name):
            problems.append(Problem(written.name, line, f"{name} is no setting of Koe{_meant(name, known)}"))
    problems.extend(
        Problem(ENVIRONMENT, 0, f"{name} is no setting of Koe{_meant(name, known)}")
        for name in environ
        if name not in known and name.startswith("KOE_") and _close(name, known)
    )

    for name, value in given.items():
        parts = [part.strip() for part in value.split(",")] if name.endswith("_SECRETS") else [value.strip()]
        if name in _SECRET_NAMES and any(_PLACEHOLDER.search(part) for part in parts):
            blame(
                name,
                "still holds the placeholder of the example; put the real value here, or remove the line",
            )
        elif name in _PREFIXES and not all(part.startswith(_PREFIXES[name]) for part in parts if part):
            blame(name, f"does not start with {_PREFIXES[name]}; this is another kind of token")
        elif name in _SECRET_NAMES and not value.isascii():
            blame(name, "holds characters that no token has; copy it again")
        elif name == "KOE_EVENTS_SECRETS" and not all(usable_webhook_secret(part) for part in parts if part):
            blame(name, "is cut short or mistyped: after whsec_ stands the base64 of 24 to 64 bytes; copy it again")
        elif name == "KOE_SECRET_KEY" and len(value.strip()) < 32:
            blame(name, f"is too short to be safe; {HOW_TO_MAKE_A_KEY}")

    source = EnvSettingsSource(Settings)
    source.env_vars = {name: value.strip() for name, value in given.items()}
    values = source()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            name = str(detail["loc"][0])
            values.pop(name, None)
            blame(name, _sentence(detail, {}))
        settings = Settings(**values)

    _whole_platforms(given, problems)
    return settings


HOW_TO_MAKE_A_KEY = 'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


def _whole_platforms(given: Mapping[str, str], problems: list[Problem]) -> None:
    """All settings of a platform, or none."""
    if any(name.startswith("LINE_") for name in given):
        problems.extend(_lacking(name, "LINE", given) for name in _LINE_NEEDS if name not in given)
    if any(name.startswith("SLACK_") for name in given):
        if "SLACK_BOT_TOKEN" not in given:
            problems.append(_lacking("SLACK_BOT_TOKEN", "Slack", given))
        if "SLACK_APP_TOKEN" not in given and "SLACK_SIGNING_SECRETS" not in given:
            problems.append(_lacking("SLACK_SIGNING_SECRETS (or SLACK_APP_TOKEN for Socket Mode)", "Slack", given))


def _lacking(name: str, platform: str, given: Mapping[str, str]) -> Problem:
    there = ", ".join(sorted(n for n in given if n.startswith(platform.upper() + "_")))
    return Problem(
        ENVIRONMENT,
        0,
        f"{name} is missing, but {there} is set: add it, or remove the rest to turn {platform} off",
    )


def _close(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)), "")


def _meant(name: str, known: Iterable[str]) -> str:
    close = _close(name, known)
    return f"; did you mean {close}?" if close else "; remove it"


# ------------------------------------------------------------------------------------------- reading koe.yaml

_ASKED_FOR = {
    "brand": "the shop's name as customers know it: brand: {ja: 声の店, en: Koe Store}",
    "privacy_url": "customers are shown where your privacy policy stands: privacy_url: https://…",
    "support_hours": "promised times are reckoned from it: "
    'support_hours: {days: mon-fri, hours: "10:00-17:00", holidays: JP}',
    "retention": "customers are told how long answers are kept: retention: 2y",
}


def read_shop(config: Path, flows_dir: Path | None, problems: list[Problem]) -> tuple[Shop | None, Library | None]:
    """koe.yaml and every flow, as far as they can be used; what is wrong is added to `problems`."""
    source = files.read_yaml(config, problems)
    shop = None if source is None else parse_shop(source, problems)
    own = files.OwnDefinitions() if flows_dir is None else files.read_definitions(flows_dir, problems)
    library = _library(own, shop, source, problems)
    if source is not None:
        # from the files themselves, so that these are named together with whatever else is wrong
        measured = {name for found in (*builtin_definitions().instruments, *own.instruments) for name in found.data}
        problems.extend(_dangling(source, _flow_ids(own), sorted(measured)))
    return shop, library


def parse_shop(source: Source, problems: list[Problem]) -> Shop | None:
    """koe.yaml as a Shop, or None after adding what is wrong with it to `problems`."""
    data = dict(source.data)
    before = len(problems)
    problems.extend(_unsound_trust(source))
    try:
        shop = Shop.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            path: SourcePath = detail["loc"]
            problems.append(source.problem(path, f"{_dotted(path)}{_sentence(detail, data)}"))
        return None
    return shop if len(problems) == before else None


def _unsound_trust(source: Source) -> Iterable[Problem]:
    """Numbers of the trust section that are fine one by one and cannot stand together; from the file itself, so that
    these are named together with whatever else is wrong."""
    try:
        section = Trust.model_validate(source.data.get("trust") or {})
    except ValidationError:
        return
    for path, message in trust.sanity(section.rules):
        yield source.problem(("trust", *path), f"trust.{message}")


def _library(
    own: files.OwnDefinitions, shop: Shop | None, source: Source | None, problems: list[Problem]
) -> Library | None:
    flows = own.flows
    if shop is not None and source is not None:
        flows = _other_instruments(flows, shop, source, problems)
    rules = rules_of(Unhappy() if shop is None else shop.unhappy)
    try:
        library = builtin_library(rules, flows=flows, deck=own.deck, instruments=own.instruments, blocks=own.blocks)
    except DefinitionErrors as errors:
        problems.extend(errors.problems)
        return None
    if shop is None or source is None:
        return library
    written = {str(file.data.get("id")): file for file in (*builtin_definitions().flows, *flows)}
    return replace(library, arms=experiments.read_arms(shop, library, written, source, problems))


def rules_of(unhappy: Unhappy) -> Rules:
    """The unhappy section as the conversation wants it."""
    return Rules(
        satisfaction_max=unhappy.satisfaction_max,
        effort_min=unhappy.effort_min,
        nps_max=unhappy.nps_max,
        words=unhappy.words,
    )


def _other_instruments(
    own: tuple[Source, ...], shop: Shop, config: Source, problems: list[Problem]
) -> tuple[Source, ...]:
    """The shop's flow files, and each flow for whose questions `flows:` of koe.yaml names instruments."""
    flows = {str(source.data.get("id")): source for source in (*builtin_definitions().flows, *own)}
    changed = {str(source.data.get("id")): source for source in own}
    if len(changed) < len(own):
        return own  # an id that stands twice; loading the files will say where
    for flow_id, wanted in shop.flows.items():
        source = flows.get(flow_id)
        if source is None:
            message = f"flows: there is no flow {flow_id}{files.hint(flow_id, sorted(flows))}"
            problems.append(config.problem(("flows", flow_id), message))
            continue
        questions = source.data.get("questions")
        replaced = list(questions) if isinstance(questions, list) else []
        asked = {
            str(question["id"]): index
            for index, question in enumerate(replaced)
            if isinstance(question, dict) and "instrument" in question and "id" in question
        }
        for question_id, instrument in wanted.items():
            if question_id not in asked:
                hint = files.hint(question_id, sorted(asked))
                message = f"flows: {flow_id} asks no question {question_id}{hint}"
                problems.append(config.problem(("flows", flow_id, question_id), message))
                continue
            question = replaced[asked[question_id]]
            assert isinstance(question, dict)
            replaced[asked[question_id]] = {**question, "instrument": instrument}
        changed[flow_id] = replace(source, data={**source.data, "questions": replaced})
    return tuple(changed.values())


def _flow_ids(own: files.OwnDefinitions) -> list[str]:
    return sorted({str(source.data.get("id")) for source in (*builtin_definitions().flows, *own.flows)})


def _dangling(source: Source, flow_ids: list[str], measured: list[str]) -> Iterable[Problem]:
    """What koe.yaml refers to and nobody knows. `measured`: the instruments."""
    rules = source.data.get("triggers")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        flow = rule.get("flow") if isinstance(rule, dict) else None
        if isinstance(rule, dict) and isinstance(flow, str) and flow and flow not in flow_ids:
            message = f"trigger {rule.get('id', index + 1)}: there is no flow {flow}{files.hint(flow, flow_ids)}"
            yield source.problem(("triggers", index, "flow"), message)
    metric, targets = source.data.get("primary_metric"), source.data.get("targets")
    figures = source.data.get("benchmarks")
    for index, figure in enumerate(figures if isinstance(figures, list) else ()):
        name = figure.get("metric") if isinstance(figure, dict) else None
        if isinstance(name, str) and name not in measured:
            message = f"benchmarks: there is no instrument {name}{files.hint(name, measured)}"
            yield source.problem(("benchmarks", index, "metric"), message)
    words = source.data.get("free_text")
    topics = words.get("topics") if isinstance(words, dict) else None
    for topic, about in topics.items() if isinstance(topics, dict) else ():
        name = about.get("experience") if isinstance(about, dict) else None
        if isinstance(name, str) and name not in measured:
            message = f"free_text: there is no instrument {name}{files.hint(name, measured)}"
            yield source.problem(("free_text", "topics", topic, "experience"), message)
    if isinstance(metric, str) and metric not in measured:
        message = f"primary_metric: there is no instrument {metric}{files.hint(metric, measured)}"
        yield source.problem(("primary_metric",), message)
    for name, value in targets.items() if isinstance(targets, dict) else ():
        kpi = TARGETS.get(name)
        low, high = (-100.0, 100.0) if kpi is None else (0.0, kpi.most)
        if kpi is None and name not in measured:
            known = [*measured, *TARGETS]
            yield source.problem(("targets", name), f"targets: there is no instrument {name}{files.hint(name, known)}")
        elif isinstance(value, int | float) and not low <= value <= (math.inf if high is None else high):
            bounds = f"from {low:g} to {high:g}" if high is not None else "of 0 or more"
            kind = "score" if kpi is None else "figure"
            yield source.problem(("targets", name), f"targets: {name} is a {kind} {bounds}, not {value:g}")


def _dotted(path: SourcePath) -> str:
    """Where in a file, as people say it: "triggers[2].flow: "."""
    words = ""
    for part in path:
        words += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return f"{words.lstrip('.')}: " if words else ""


def _sentence(detail: ErrorDetails, data: Mapping[str, Any]) -> str:
    """What is wrong and what to do, without the value: it may be a secret."""
    path = detail["loc"]
    last = str(path[-1]) if path else ""
    match detail["type"]:
        case "value_error":
            return str(detail["msg"]).removeprefix("Value error, ")
        case "missing" if len(path) == 1:
            return f"missing; {_ASKED_FOR[last]}" if last in _ASKED_FOR else "missing"
        case "missing":
            return "missing"
        case "extra_forbidden":
            return f"unknown key{_meant(last, _keys_at(path[:-1]))}"
        case "literal_error":
            return f"must be one of {detail['ctx']['expected']}"
        case "string_pattern_mismatch" if last == "channel":
            return "is no Slack channel id; it looks like C0123ABCD (channel details in Slack, at the bottom)"
        case "string_pattern_mismatch" if path[:1] == ("staff",):
            return "is no Slack id; a person's looks like U0123ABCD, a user group's like S0123ABCD"
        case "string_pattern_mismatch" if last == "LINE_BASIC_ID":
            return "must look like @123abcde, with the @"
        case "string_pattern_mismatch" if last == "country":
            return "is no country code; it looks like JP"
        case "string_pattern_mismatch" if last == "year":
            return "is neither a year such as 2025 nor a month such as 2025-06"
        case "string_pattern_mismatch" if last == "scale":
            return "must name both ends of the scale, such as 0-10"
        case "string_pattern_mismatch":
            return "must start with a letter and hold only small letters, digits, _ . -"
        case "model_type" | "model_attributes_type" | "dict_type":
            return (
                "must be a group of keys, such as {ja: …, en: …}"
                if last in ("brand", "team")
                else "must be a group of keys"
            )
        case "tuple_type" | "list_type":
            return "must be a list, such as [a, b]"
        case "string_type":
            return "must be text; put quotes around it"
        case "string_too_short":
            return "is empty"
        case _:
            message = str(detail["msg"]).replace("Input should be", "must be")
            return message[:1].lower() + message[1:]


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at this place of koe.yaml."""
    model: type[BaseModel] = Shop
    for part in path:
        if isinstance(part, int):
            continue
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                found = _model_in(field.annotation)
                if found is None:
                    return []
                model = found
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The section a field holds: itself, optional, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
