"""The chart's values as classes: the one source of values.yaml, values.schema.json and the table in the README."""
