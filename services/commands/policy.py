"""`lethe policy`: check, list and show policy packs."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Policy packs: the law and the organisation's choices, as data.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
PackArgument = Annotated[str, typer.Argument(help="A built-in pack's name (gdpr, uk_gdpr, ccpa, lgpd) or a path.")]


@app.command("check")
def check(pack: PackArgument, as_json: JsonOption = False) -> None:
    """Check a pack and name every fault at once, with line numbers. Exit code 1 if there is any."""
    from policies.pack import load_pack
    from policies.pack_check import check_pack

    faults = check_pack(pack)
    loaded = None if faults else load_pack(pack)
    if as_json:
        found = [
            {"line": fault.line, "column": fault.column, "path": fault.path, "message": fault.message}
            for fault in faults
        ]
        sound = {} if loaded is None else {"version": loaded.version, "digest": loaded.digest}
        print(json.dumps({"pack": pack, "valid": not faults, "faults": found, **sound}, indent=2))
    elif loaded is None:
        for fault in faults:
            print(f"{pack}:{fault}")
        print(f"{len(faults)} fault(s)")
    else:
        print(f"{pack}: sound. {loaded.regime} {loaded.version}, digest {loaded.digest}")
    raise typer.Exit(1 if faults else 0)


@app.command("list")
def list_packs(as_json: JsonOption = False) -> None:
    """List the built-in packs with version and digest."""
    from policies.pack import builtin_packs, load_pack

    packs = [load_pack(name) for name in builtin_packs()]
    if as_json:
        rows = [{"name": p.regime, "title": p.data.title, "version": p.version, "digest": p.digest} for p in packs]
        print(json.dumps({"packs": rows}, indent=2))
        return
    for p in packs:
        print(f"{p.regime:<8} {p.version:<7} {p.digest[:12]}  {p.data.title}")


@app.command("show")
def show(pack: PackArgument, as_json: JsonOption = False) -> None:
    """Show a pack: its rules in order, what it keeps, its deadlines and thresholds."""
    from policies.pack import load_pack, pack_path

    loaded = load_pack(pack)
    if as_json:
        body = {"digest": loaded.digest, "origin": loaded.origin, **loaded.data.model_dump(mode="json")}
        print(json.dumps(body, indent=2, ensure_ascii=False))
        return
    data = loaded.data
    print(f"{data.title}\n{loaded.regime} {loaded.version} ({Path(pack_path(pack)).name})\ndigest {loaded.digest}")
    print("\nRules, the first that holds decides (none: a person decides):")
    for rule in data.rules:
        print(f"  {rule.id}: {rule.outcome}, {rule.article}\n    when {rule.when}")
    print("\nKept, not forgotten:")
    for exemption in data.exemptions:
        if exemption.enabled:
            print(f"  {', '.join(exemption.keeps)}: {exemption.article}, {exemption.title} ({exemption.basis} choice)")
    clocks = data.deadlines
    print("\nDeadlines, from receipt:")
    for name, period in (("confirm", clocks.confirm), ("answer", clocks.answer), ("extension", clocks.extension)):
        if period is not None:
            print(f"  {name}: {period}, {period.article} ({period.basis})")
    approval = data.approval
    print(f"\nApprovals: {approval.approvals} of {', '.join(approval.roles)}; four eyes: {approval.four_eyes}")
    print("\nThresholds:")
    for field, value in data.thresholds.model_dump().items():
        print(f"  {field}: {value}")
    print(f"\nkeep_probes: {data.keep_probes}\n{data.notice}")
