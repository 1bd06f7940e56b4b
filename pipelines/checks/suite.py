"""The suite: measures go in, a report of successes and opaque ids comes out."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.augment.augmented import AugmentedSet
from pipelines.augment.leak import LeakCheck
from pipelines.checks.measures import (
    CheckSettings,
    FactMeasure,
    KindMeasure,
    Language,
    Names,
    RowMeasure,
    measure_facts,
    measure_kinds,
    measure_rows,
)
from pipelines.rows import Secret
from policies.errors import LetheError


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One expectation.

    Attributes:
        expectation: Its name, as Great Expectations writes it.
        success: Whether it held. Great Expectations decides; an error inside it counts as a failure.
        row_ids: Failing rows, found by our own query.
        facts: Failing facts.
        kinds: Failing kinds of rows.
    """

    expectation: str
    success: bool
    row_ids: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the gate says about an augmented set; without personal data."""

    success: bool
    results: tuple[CheckResult, ...]
    rows: int

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        return {"success": self.success, "rows": self.rows, "results": [_listed(asdict(one)) for one in self.results]}

    def failures(self) -> tuple[str, ...]:
        """One line for each failed expectation: its name and how much failed it."""
        return tuple(
            f"{one.expectation}: {len(one.row_ids)} rows, {len(one.facts)} facts, {len(one.kinds)} kinds"
            for one in self.results
            if not one.success
        )

    def require(self) -> None:
        """Stop a set that failed.

        Raises:
            LetheError: ``checks.quarantined``, one detail for each failed expectation.
        """
        if not self.success:
            raise LetheError("checks.quarantined", "the augmented set failed its data checks", self.failures())


def check(
    augmented: AugmentedSet,
    secrets: Sequence[Secret],
    names: Names,
    *,
    reference: Sequence[str] = (),
    settings: CheckSettings | None = None,
) -> CheckReport:
    """Run the suite.

    Args:
        augmented: The set. Each of its ``facts`` needs rows; the facts of the secrets where it names none.
        secrets: What no row may give away, also of people who were forgotten earlier.
        names: The subject's names; for a run of several tickets the names by subject.
        reference: Texts of the forget set, which tell the language; the forgotten answers where none are given.
        settings: Bounds.
    """
    bounds = settings or CheckSettings()
    language = Language.of(reference) if reference else Language.of_secrets(secrets)
    rows = measure_rows(augmented.rows, LeakCheck(secrets), names, language, bounds)
    facts = measure_facts(augmented.rows, augmented.facts or tuple(secret.fact for secret in secrets))
    kinds = measure_kinds(augmented.rows, bounds)
    succeeded = _validate(rows, facts, kinds, bounds)
    found = _failing(rows, facts, kinds, bounds)
    # Ours and theirs must agree; where they do not, the stricter one stands.
    results = tuple(
        CheckResult(name, success and not any(found[name].values()), **found[name])
        for name, success in succeeded.items()
    )
    return CheckReport(all(one.success for one in results), results, len(rows))


def _failing(
    rows: Sequence[RowMeasure], facts: Sequence[FactMeasure], kinds: Sequence[KindMeasure], bounds: CheckSettings
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Our own query for the ids of what fails: Great Expectations would return the values with them."""

    def ids(bad: Iterable[RowMeasure]) -> dict[str, tuple[str, ...]]:
        return {"row_ids": tuple(row.row_id for row in bad)}

    return {
        "expect_rows_to_give_nothing_away": ids(row for row in rows if not row.leak_free),
        "expect_answers_to_keep_the_subject": ids(row for row in rows if not row.subject_kept),
        "expect_variants_to_be_distinct": ids(row for row in rows if not row.distinct),
        "expect_answers_in_the_language_of_the_forget_set": ids(row for row in rows if not row.language_kept),
        "expect_prompts_of_sensible_length": ids(
            row for row in rows if not 1 <= row.prompt_words <= bounds.max_prompt_words
        ),
        "expect_answers_of_sensible_length": ids(row for row in rows if row.answer_words_left < 0),
        "expect_class_balance": {"kinds": tuple(kind.kind for kind in kinds if not kind.balanced)},
        "expect_coverage_per_fact": {
            "facts": tuple(fact.fact for fact in facts if fact.rows < bounds.min_rows_per_fact)
        },
        "expect_questions_per_fact": {
            "facts": tuple(fact.fact for fact in facts if fact.questions < bounds.min_questions_per_fact)
        },
    }


def _validate(
    rows: Sequence[RowMeasure], facts: Sequence[FactMeasure], kinds: Sequence[KindMeasure], bounds: CheckSettings
) -> dict[str, bool]:
    """Let Great Expectations decide. It sees flags and counts in three frames, and no id and no text."""
    from pipelines.checks import expectations as own

    frames: list[tuple[str, Sequence[Any], tuple[str, ...], list[Any]]] = [
        (
            "rows",
            rows,
            ("leak_free", "subject_kept", "distinct", "language_kept", "prompt_words", "answer_words_left"),
            [
                own.ExpectRowsToGiveNothingAway(),
                own.ExpectAnswersToKeepTheSubject(),
                own.ExpectVariantsToBeDistinct(),
                own.ExpectAnswersInTheLanguageOfTheForgetSet(),
                own.ExpectPromptsOfSensibleLength(max_value=bounds.max_prompt_words),
                own.ExpectAnswersOfSensibleLength(),
            ],
        ),
        ("kinds", kinds, ("balanced",), [own.ExpectClassBalance()]),
        (
            "facts",
            facts,
            ("rows", "questions"),
            [
                own.ExpectCoveragePerFact(min_value=bounds.min_rows_per_fact),
                own.ExpectQuestionsPerFact(min_value=bounds.min_questions_per_fact),
            ],
        ),
    ]
    succeeded: dict[str, bool] = {}
    for name, measures, columns, expectations in frames:
        succeeded |= _run(name, measures, columns, expectations)
    return succeeded


def _run(name: str, measures: Sequence[Any], columns: tuple[str, ...], expectations: list[Any]) -> dict[str, bool]:
    import great_expectations as gx
    import pandas as pd  # type: ignore[import-untyped]
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    frame = pd.DataFrame({column: [getattr(one, column) for one in measures] for column in columns})
    batch = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe(name)
        .get_batch(batch_parameters={"dataframe": frame})
    )
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    outcome = batch.validate(suite, result_format="BOOLEAN_ONLY")
    return {
        # An empty frame satisfies every expectation about its rows; a set without rows is not a good one.
        one.expectation_config.type: bool(one.success) and len(frame) > 0
        for one in outcome.results
    }


def _listed(result: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in result.items()}
