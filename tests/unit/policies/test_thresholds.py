import pytest
from pydantic import TypeAdapter, ValidationError

from policies.thresholds import ATTACK_BOUNDS, FLOOR, MeasuredThresholds, Thresholds, strictest

NO_FLOOR = {"attack_tier_min", *ATTACK_BOUNDS}  # the floor demands none of these: nothing is weaker
FLOAT_MIN = [name for name in Thresholds.model_fields if name.endswith("_min") and name not in NO_FLOOR]
FLOAT_MAX = [name for name in Thresholds.model_fields if name.endswith("_max") and name not in NO_FLOOR]


def test_the_defaults_are_those_of_the_issue() -> None:
    assert Thresholds().model_dump() == {
        "kfr_min": 0.95,
        "kfr_lower_bound_min": 0.85,
        "krr_ratio_min": 0.95,
        "own_public_ratio_min": 0.85,
        "ls_ratio_min": 0.9,
        "ppl_ratio_max": 2.0,
        "repeat_ratio_max": 1.2,
        "subject_named_min": 0.95,
        "other_value_max": 0.02,
        "earlier_drop_max": 0.05,
        "min_forget_probes": 60,
        "min_retain_probes": 200,
        "attack_tier_min": 0,
        "attack_kfr_min": 0.9,
        "quantised_drop_max": 0.05,
        "leak_over_control_max": 0.05,
        "relearn_over_control_max": 0.1,
        "attack_kfr_lower_bound_min": 0.8,
        "leak_over_control_upper_max": 0.15,
        "relearn_over_control_upper_max": 0.3,
        "control": "optional",
    }


def test_the_defaults_are_above_the_floor() -> None:
    assert Thresholds().at_least_as_strict_as(FLOOR)
    assert not FLOOR.at_least_as_strict_as(Thresholds())


@pytest.mark.parametrize("name", FLOAT_MIN)
def test_a_lower_minimum_is_weaker(name: str) -> None:
    assert Thresholds(**{name: getattr(FLOOR, name) - 0.01}).weaker_than(FLOOR) == (name,)


@pytest.mark.parametrize("name", FLOAT_MAX)
def test_a_higher_maximum_is_weaker(name: str) -> None:
    weaker = Thresholds(**{name: getattr(FLOOR, name) + 0.01})
    assert weaker.weaker_than(FLOOR) == (name,)


def test_counts_and_the_control_are_compared_too() -> None:
    assert Thresholds(min_forget_probes=29).weaker_than(FLOOR) == ("min_forget_probes",)
    assert Thresholds(min_retain_probes=99).weaker_than(FLOOR) == ("min_retain_probes",)
    assert Thresholds().weaker_than(Thresholds(control="required")) == ("control",)
    assert Thresholds(control="required").at_least_as_strict_as(Thresholds())


def test_fewer_tiers_of_attacks_are_weaker() -> None:
    assert Thresholds(attack_tier_min=-1).weaker_than(Thresholds()) == ("attack_tier_min",)
    assert Thresholds(attack_tier_min=-1).at_least_as_strict_as(FLOOR)
    assert Thresholds(attack_tier_min=2).at_least_as_strict_as(Thresholds(attack_tier_min=1))


def test_tickets_that_share_a_run_get_the_strictest_of_each_attack_limit() -> None:
    one = Thresholds(attack_tier_min=-1, quantised_drop_max=0.01, relearn_over_control_max=0.2)
    other = Thresholds(attack_tier_min=1, attack_kfr_min=0.85, leak_over_control_max=0.1)
    both = strictest([one, other])
    assert (both.attack_tier_min, both.attack_kfr_min) == (1, 0.9)
    assert (both.quantised_drop_max, both.leak_over_control_max, both.relearn_over_control_max) == (0.01, 0.05, 0.1)


def test_a_verdict_from_before_there_were_attacks_claims_none() -> None:
    old = {name: value for name, value in Thresholds().model_dump().items() if "attack" not in name}
    for name in ("quantised_drop_max", "leak_over_control_max", "relearn_over_control_max", *ATTACK_BOUNDS[1:]):
        del old[name]
    read = TypeAdapter(MeasuredThresholds).validate_python(old)
    assert read.attack_tier_min == -1
    assert read.weaker_than(FLOOR) == ()  # an upgrade alone refuses no release
    assert read.weaker_than(FLOOR.model_copy(update={"attack_tier_min": 0})) == ("attack_tier_min",)
    assert Thresholds.model_validate(old).attack_tier_min == 0  # a pack without the fields takes today's defaults
    assert TypeAdapter(MeasuredThresholds).validate_python(Thresholds().model_dump()) == Thresholds()


def test_a_verdict_from_before_bounds_decided_claims_none() -> None:
    old = {name: value for name, value in Thresholds().model_dump().items() if name not in ATTACK_BOUNDS}
    read = TypeAdapter(MeasuredThresholds).validate_python(old)
    assert read.attack_tier_min == 0
    assert read.weaker_than(FLOOR) == ()
    assert set(read.weaker_than(Thresholds())) == set(ATTACK_BOUNDS)


@pytest.mark.parametrize(
    "values",
    [
        {"kfr_min": 1.1},
        {"attack_tier_min": 3},
        {"attack_tier_min": -2},
        {"attack_tier_min": 0.5},
        {"quantised_drop_max": 1.5},
        {"kfr_min": -0.1},
        {"kfr_min": "0.95"},
        {"kfr_min": float("nan")},
        {"ppl_ratio_max": 0.5},
        {"min_forget_probes": 0},
        {"min_forget_probes": 60.5},
        {"control": "sometimes"},
        {"kfr_minimum": 0.95},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Thresholds.model_validate(values)


def test_every_field_says_what_it_means() -> None:
    assert all(field.description for field in Thresholds.model_fields.values())
