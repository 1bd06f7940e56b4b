"""Calendar-exact deadlines. Dates are those of the controller's time zone; a deadline ends with its day.

A period is counted from the day of receipt, which is not itself counted: a month received on the 5th ends on the 5th,
one received on 31 January ends on the last day of February. Deadlines are never moved past a week-end or a holiday,
although some laws allow it (Regulation (EEC, Euratom) 1182/71 Art. 3(4)): a house default, on the strict side.
"""

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.relativedelta import relativedelta
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from policies.errors import LetheError

Calendar = Literal["US-CA"]
Basis = Literal["law", "house"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Period(_Strict):
    """A length of time as a law states it: exactly one of months, days or business days."""

    months: int | None = Field(default=None, ge=1, le=24, description="Calendar months.")
    days: int | None = Field(default=None, ge=1, le=730, description="Calendar days.")
    business_days: int | None = Field(default=None, ge=1, le=250, description="Days that are no week-end or holiday.")
    calendar: Calendar | None = Field(default=None, description="Whose holidays count for business days.")
    article: str = Field(min_length=1, max_length=120, description="Where the law says so.")
    basis: Basis = Field(default="law", description="law: the text sets the number. house: the organisation chose it.")
    note: str = Field(default="", max_length=600)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.months, self.days, self.business_days)) != 1:
            raise ValueError("exactly one of months, days, business_days is needed")
        if (self.business_days is None) != (self.calendar is None):
            raise ValueError("business_days and calendar belong together")
        return self

    def after(self, start: date) -> date:
        """The last day of the period that begins with ``start``."""
        if self.months is not None:
            return start + relativedelta(months=self.months)  # clamps to the end of a shorter month
        if self.days is not None:
            return start + timedelta(days=self.days)
        return _business_days_after(start, self.business_days or 0, self.calendar or "US-CA")

    def __str__(self) -> str:
        for value, unit in ((self.months, "calendar month"), (self.days, "day"), (self.business_days, "business day")):
            if value is not None:
                return f"{value} {unit}{'' if value == 1 else 's'}"
        raise AssertionError("a period has exactly one length")


class DeadlineRules(_Strict):
    """The clocks of one regime."""

    confirm: Period | None = Field(default=None, description="By when the receipt must be confirmed, if at all.")
    answer: Period = Field(description="By when the subject must have an answer.")
    extension: Period | None = Field(
        default=None, description="How much longer, counted from the end of the first period, after notice with reason."
    )
    starts: Literal["receipt"] = Field(default="receipt", description="Verifying the identity does not stop a clock.")


class Extension(_Strict):
    """A recorded act: somebody extended the period and told the subject why."""

    reason: Literal["complexity", "number_of_requests"] = Field(description="The two reasons that the laws know.")
    notice_sent_at: AwareDatetime = Field(description="When the subject was told.")
    decided_by: str = Field(min_length=1, max_length=128, description="An account's key, not a name.")


class Deadlines(_Strict):
    """The deadlines of one ticket. Each ``…_by`` is the last moment of its day."""

    received_on: date
    zone: str
    confirm_by: datetime | None
    answer_by: datetime
    first_answer_by: datetime
    extendable_to: datetime | None
    extended: bool
    article: str
    basis: Basis

    def overdue(self, now: datetime) -> bool:
        """Whether the answer is late."""
        return now > self.answer_by

    def confirm_overdue(self, now: datetime) -> bool:
        """Whether the confirmation of receipt is late (never, where none is owed)."""
        return self.confirm_by is not None and now > self.confirm_by

    def days_left(self, now: datetime) -> int:
        """Whole calendar days until the last day; 0 on that day, negative after it."""
        return (self.answer_by.date() - local_date(now, self.zone)).days


def deadlines(rules: DeadlineRules, received_at: datetime, zone: str, extension: Extension | None = None) -> Deadlines:
    """The deadlines of a ticket received at a moment, in the controller's time zone.

    Raises:
        LetheError: ``policy.extension_refused`` where the regime has none, or the notice came after the first period;
            ``policy.unknown_zone``.
    """
    received = local_date(received_at, zone)
    first = rules.answer.after(received)
    # Counted from receipt, not from the clamped end: 31 January + 3 months is 30 April, not 28 April.
    extended = None if rules.extension is None else _extended(received, rules.answer, rules.extension)
    if extension is not None:
        _may_extend(rules, extension, received_at, last_moment(first, zone))
    last = extended if extension is not None and extended is not None else first
    return Deadlines(
        received_on=received,
        zone=zone,
        confirm_by=None if rules.confirm is None else last_moment(rules.confirm.after(received), zone),
        answer_by=last_moment(last, zone),
        first_answer_by=last_moment(first, zone),
        extendable_to=None if extended is None else last_moment(extended, zone),
        extended=extension is not None,
        article=rules.answer.article,
        basis=rules.answer.basis,
    )


def local_date(moment: datetime, zone: str) -> date:
    """The calendar day of a moment in the controller's zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(_zone(zone)).date()


def last_moment(day: date, zone: str) -> datetime:
    """The last second of a day in a zone."""
    return datetime.combine(day, time(23, 59, 59), _zone(zone))


def _extended(received: date, answer: Period, extension: Period) -> date:
    if answer.months is not None and extension.months is not None:
        return received + relativedelta(months=answer.months + extension.months)
    return extension.after(answer.after(received))


def _may_extend(rules: DeadlineRules, extension: Extension, received_at: datetime, first_end: datetime) -> None:
    if rules.extension is None:
        raise LetheError("policy.extension_refused", "this regime knows no extension")
    if extension.notice_sent_at > first_end:
        raise LetheError(
            "policy.extension_refused", f"the notice came after the first period ({rules.answer}) had ended"
        )
    if extension.notice_sent_at < received_at:
        raise LetheError("policy.extension_refused", "the notice is older than the ticket")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LetheError("policy.unknown_zone", "the controller's time zone is not known to this system") from None


def _business_days_after(start: date, count: int, calendar: Calendar) -> date:
    day = start
    while count > 0:
        day += timedelta(days=1)
        if day.weekday() < 5 and day not in _holidays(calendar, day.year):
            count -= 1
    return day


@lru_cache(maxsize=64)
def _holidays(calendar: Calendar, year: int) -> frozenset[date]:
    import holidays  # costs a quarter of a second, and only one regime needs it

    country, subdivision = calendar.split("-")
    return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))
