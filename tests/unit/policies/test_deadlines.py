from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from policies.deadlines import DeadlineRules, Deadlines, Extension, Period, deadlines, last_moment, local_date
from policies.errors import LetheError
from policies.pack import builtin_packs, load_pack

# A loaded machine is slow, and no fault of the calendar.
quiet = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
DATES = st.dates(min_value=date(2000, 1, 1), max_value=date(2099, 12, 31))
GDPR = load_pack("gdpr").data.deadlines
CCPA = load_pack("ccpa").data.deadlines
LGPD = load_pack("lgpd").data.deadlines


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def due(rules: DeadlineRules, day: str, **more: Any) -> Deadlines:
    return deadlines(rules, at(date.fromisoformat(day)), "UTC", **more)


def extension(when: str) -> Extension:
    return Extension(reason="complexity", notice_sent_at=at(date.fromisoformat(when)), decided_by="user-1")


@pytest.mark.parametrize(
    ("received", "answer", "extended"),
    [
        ("2026-01-05", "2026-02-05", "2026-04-05"),
        ("2026-01-28", "2026-02-28", "2026-04-28"),
        ("2026-01-31", "2026-02-28", "2026-04-30"),
        ("2024-01-31", "2024-02-29", "2024-04-30"),
        ("2026-03-31", "2026-04-30", "2026-06-30"),
        ("2026-12-31", "2027-01-31", "2027-03-31"),
        ("2026-11-30", "2026-12-30", "2027-02-28"),
        ("2026-02-28", "2026-03-28", "2026-05-28"),
    ],
)
def test_gdpr_is_a_calendar_month_clamped_to_the_end(received: str, answer: str, extended: str) -> None:
    first = due(GDPR, received)
    assert first.answer_by == datetime.fromisoformat(f"{answer}T23:59:59+00:00")
    assert first.extendable_to == datetime.fromisoformat(f"{extended}T23:59:59+00:00")
    assert not first.extended
    later = due(GDPR, received, extension=extension(received))
    assert later.answer_by == first.extendable_to
    assert later.first_answer_by == first.answer_by
    assert later.extended


def test_ccpa_has_two_clocks_and_verification_stops_neither() -> None:
    # 25 and 26 November fall around Thanksgiving; 26 November 2026 is a holiday in California, and so is the 27th.
    found = due(CCPA, "2026-11-20")
    assert found.answer_by.date() == date(2027, 1, 4)
    assert found.extendable_to is not None
    assert found.extendable_to.date() == date(2026, 11, 20) + timedelta(days=90)
    assert found.confirm_by is not None
    assert found.confirm_by.date() == date(2026, 12, 8)
    assert due(GDPR, "2026-11-20").confirm_by is None


def test_lgpd_is_marked_as_a_house_choice() -> None:
    found = due(LGPD, "2026-11-20")
    assert found.answer_by.date() == date(2026, 12, 5)
    assert found.basis == "house"
    assert found.extendable_to is None


@quiet
@given(DATES, st.integers(1, 24))
def test_a_month_never_lands_beyond_the_target_month(day: date, months: int) -> None:
    end = Period(months=months, article="x").after(day)
    total = day.year * 12 + day.month - 1 + months
    assert (end.year, end.month) == (total // 12, total % 12 + 1)
    assert end.day <= day.day
    assert end.day == day.day or (end + timedelta(days=1)).day == 1


@quiet
@given(DATES, st.integers(0, 400), st.sampled_from([GDPR, CCPA, LGPD]))
def test_received_later_is_never_due_earlier(day: date, more: int, rules: DeadlineRules) -> None:
    early, late = (deadlines(rules, at(d), "UTC") for d in (day, day + timedelta(days=more)))
    assert early.answer_by <= late.answer_by
    assert early.answer_by > at(day)
    if early.confirm_by and late.confirm_by:
        assert early.confirm_by <= late.confirm_by
    if early.extendable_to and late.extendable_to:
        assert early.answer_by < early.extendable_to <= late.extendable_to


@quiet
@given(DATES, st.integers(1, 30))
def test_business_days_end_on_a_business_day(day: date, count: int) -> None:
    end = Period(business_days=count, calendar="US-CA", article="x").after(day)
    assert end.weekday() < 5
    assert (end - day).days >= count


def test_dates_are_those_of_the_controllers_zone() -> None:
    moment = datetime(2026, 1, 30, 23, 30, tzinfo=UTC)  # already the 31st in Vienna, still the 30th in Los Angeles
    vienna = deadlines(GDPR, moment, "Europe/Vienna")
    assert vienna.received_on == date(2026, 1, 31)
    assert vienna.answer_by.isoformat() == "2026-02-28T23:59:59+01:00"
    angeles = deadlines(GDPR, moment, "America/Los_Angeles")
    assert angeles.received_on == date(2026, 1, 30)
    assert angeles.answer_by.isoformat() == "2026-02-28T23:59:59-08:00"


def test_summer_time_does_not_shift_a_deadline() -> None:
    found = deadlines(GDPR, datetime(2026, 3, 10, 12, tzinfo=UTC), "Europe/Vienna")
    assert found.answer_by.isoformat() == "2026-04-10T23:59:59+02:00"


def test_overdue_begins_after_the_last_second() -> None:
    found = due(CCPA, "2026-11-20")
    assert found.confirm_by is not None
    assert not found.overdue(found.answer_by)
    assert found.overdue(found.answer_by + timedelta(seconds=1))
    assert not found.confirm_overdue(found.confirm_by)
    assert found.confirm_overdue(found.confirm_by + timedelta(seconds=1))
    assert not due(GDPR, "2026-11-20").confirm_overdue(found.answer_by)
    assert [found.days_left(found.answer_by + timedelta(days=n)) for n in (-1, 0, 1)] == [1, 0, -1]


@pytest.mark.parametrize(
    ("rules", "notice", "message"),
    [
        (GDPR, "2026-02-06", "after the first period"),
        (GDPR, "2026-01-04", "older than the ticket"),
        (LGPD, "2026-01-06", "knows no extension"),
    ],
)
def test_an_extension_out_of_time_is_refused(rules: DeadlineRules, notice: str, message: str) -> None:
    with pytest.raises(LetheError, match=message) as caught:
        due(rules, "2026-01-05", extension=extension(notice))
    assert caught.value.code == "policy.extension_refused"


def test_the_last_day_of_the_first_month_is_in_time() -> None:
    assert due(GDPR, "2026-01-05", extension=extension("2026-02-05")).extended


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"months": 1, "days": 30},
        {"business_days": 10},
        {"days": 10, "calendar": "US-CA"},
        {"months": 0},
        {"months": "1"},
        {"business_days": 10, "calendar": "US-XX"},
    ],
)
def test_a_period_has_exactly_one_length(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Period.model_validate({"article": "x", **values})


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"months": 1}, "1 calendar month"),
        ({"days": 45}, "45 days"),
        ({"business_days": 10, "calendar": "US-CA"}, "10 business days"),
    ],
)
def test_a_period_says_itself(values: dict[str, Any], text: str) -> None:
    assert str(Period.model_validate({"article": "x", **values})) == text


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "../../etc/passwd", ""])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(LetheError) as caught:
        last_moment(date(2026, 1, 1), zone)
    assert caught.value.code == "policy.unknown_zone"


def test_a_moment_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        local_date(datetime(2026, 1, 1), "UTC")


REGIMES = {name: load_pack(name).data for name in builtin_packs()}
ZONES = ("UTC", "Europe/Vienna", "America/Los_Angeles", "America/Sao_Paulo", "Pacific/Kiritimati", "Asia/Kathmandu")


def is_business_day(day: date) -> bool:
    """The same question put to the library the other way round."""
    return bool(holidays.country_holidays("US", subdiv="CA", years=day.year).is_working_day(day))


@quiet
@given(DATES, st.integers(1, 60))
def test_business_days_are_counted_from_the_day_after_receipt(day: date, count: int) -> None:
    end = Period(business_days=count, calendar="US-CA", article="x").after(day)
    between = [day + timedelta(days=n) for n in range(1, (end - day).days + 1)]
    assert sum(is_business_day(one) for one in between) == count
    assert is_business_day(end)


@quiet
@given(DATES, st.integers(1, 40), st.integers(1, 40))
def test_business_days_add_up(day: date, first: int, second: int) -> None:
    def after(start: date, count: int) -> date:
        return Period(business_days=count, calendar="US-CA", article="x").after(start)

    assert after(after(day, first), second) == after(day, first + second)


@quiet
@given(DATES, st.integers(1, 730))
def test_a_day_is_counted_from_the_day_after_receipt(day: date, days: int) -> None:
    end = Period(days=days, article="x").after(day)
    assert end.toordinal() == day.toordinal() + days


@quiet
@given(DATES)
def test_ccpa_counts_from_the_day_after_receipt_and_its_extension_from_receipt(day: date) -> None:
    found = deadlines(CCPA, at(day), "UTC")
    assert (found.answer_by.date() - day).days == 45
    assert found.extendable_to is not None
    assert (found.extendable_to.date() - day).days == 90
    assert found.confirm_by is not None
    assert 11 < (found.confirm_by.date() - day).days < 20  # two weeks, less the week-end of receipt, and the holidays


@quiet
@given(st.integers(2000, 2099), st.integers(1, 12))
def test_the_last_days_of_a_long_month_are_due_together(year: int, month: int) -> None:
    """Received on the 31st, in the month before a shorter one: due with those received on that month's last day."""
    last = date(year, month, 1) + relativedelta(day=31)
    end = deadlines(GDPR, at(last), "UTC").answer_by.date()
    following = date(year, month, 1) + relativedelta(months=1, day=31)
    assert end == min(following, last + relativedelta(months=1))
    received = [last - timedelta(days=n) for n in range(3)]
    for one in received:
        due_by = deadlines(GDPR, at(one), "UTC").answer_by.date()
        assert due_by.month == following.month
        assert due_by.day == min(one.day, following.day)
        assert due_by <= end


@quiet
@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)),
    st.sampled_from(ZONES),
    st.sampled_from(sorted(REGIMES)),
)
def test_every_regime_counts_whole_days_of_the_controllers_zone(moment: datetime, zone: str, regime: str) -> None:
    rules = REGIMES[regime].deadlines
    found = deadlines(rules, moment, zone)
    assert found.received_on == moment.astimezone(ZoneInfo(zone)).date()
    assert found.answer_by.date() == rules.answer.after(found.received_on)
    midnight = datetime.combine(found.received_on, time(12), ZoneInfo(zone))
    assert deadlines(rules, midnight, zone) == found  # the hour of receipt does not matter
    assert found.days_left(found.answer_by) == 0
    assert found.days_left(found.answer_by + timedelta(seconds=1)) == -1
    assert not found.overdue(found.answer_by)
    assert found.overdue(found.answer_by + timedelta(seconds=1))
    assert found.answer_by.timestamp() > moment.timestamp()
    if found.extendable_to is not None:
        assert found.extendable_to > found.first_answer_by


@quiet
@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)),
    st.sampled_from(["gdpr", "uk_gdpr", "ccpa"]),
    st.integers(-5, 200),
)
def test_an_extension_counts_if_and_only_if_the_notice_came_within_the_first_period(
    moment: datetime, regime: str, days: int
) -> None:
    rules = REGIMES[regime].deadlines
    first = deadlines(rules, moment, "UTC")
    told = Extension(reason="complexity", notice_sent_at=moment + timedelta(days=days), decided_by="user-1")
    if moment <= told.notice_sent_at <= first.answer_by:
        later = deadlines(rules, moment, "UTC", told)
        assert later.extended
        assert later.answer_by == first.extendable_to
        assert later.first_answer_by == first.answer_by
    else:
        with pytest.raises(LetheError) as refused:
            deadlines(rules, moment, "UTC", told)
        assert refused.value.code == "policy.extension_refused"
