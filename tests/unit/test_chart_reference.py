"""Settings are in the chart's schema too: a setting that changes changes the chart (`python -m charts.reference`)."""

from charts import reference


def test_generated_files_of_the_chart_are_those_of_the_classes() -> None:
    for path, text in reference.written().items():
        assert path.read_text() == text, f"{path.name}: run `python -m charts.reference`"
