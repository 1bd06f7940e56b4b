"""Seeds every defect and prints who saw it: ``python -m tests.chart.seeding``."""

import copy
import sys

from tests.chart import cross_rules, house_rules  # noqa: F401 (they add their rules)
from tests.chart.defects import DEFECTS, Defect
from tests.chart.rendering import KUBERNETES, case, render
from tests.chart.rules import World, faults
from tests.chart.schemas import NAME as SCHEMA
from tests.chart.schemas import schema_faults

CASE = "everything"


def seen(defect: Defect, objects: list[dict[str, object]]) -> list[str]:
    """Who sees a defect; the objects are left as they are."""
    changed = copy.deepcopy(objects)
    defect.seed(changed)
    touched = [one for one in changed if one not in objects]  # the others have passed
    schema = [SCHEMA] if any(schema_faults(touched, version) for version in KUBERNETES) else []
    try:
        return [*schema, *faults(World(changed, case(CASE)))]
    except (AttributeError, KeyError, TypeError):
        if schema:
            return schema  # too broken for the rules to read; the schema has said so
        raise


def main() -> int:
    """Print the table; the exit status says whether every defect was seen by the rule that is named."""
    objects = render(case(CASE))
    missed = 0
    print(f"{'seeded defect':40} {'seen':5} by")
    for defect in DEFECTS:
        by = seen(defect, objects)
        missed += defect.seen_by not in by
        print(f"{defect.name:40} {'yes' if defect.seen_by in by else 'NO':5} {'; '.join(by) or '–'}")
    print(f"{len(DEFECTS) - missed} of {len(DEFECTS)} seen")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
