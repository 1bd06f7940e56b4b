"""``lethe audit``: sign, export and check the audit log."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from services.audit import AuditVerification

app = typer.Typer(no_args_is_help=True, help="Sign, export and check the audit log.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NOT_RIGHT = 1  # exit status of a log that is not right; errors exit with 2


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write the bundle (JSON lines).")], as_json: Json = False
) -> None:
    """Write the whole log, signed to its end, for somebody who does not trust us."""
    from services import audit, keys
    from services.settings import load_settings
    from services.store.engine import open_store

    settings = load_settings()
    store = open_store(settings.store_url)
    try:
        signed = audit.export(store, file, keys.load_private(settings, "audit"))
    finally:
        store.close()
    _show(
        as_json,
        {"file": str(file), "trust": str(keys.trust_path(settings)), **signed.to_json()},
        f"{signed.checkpoint.size} entries in {file}; the public keys are in {keys.trust_path(settings)}",
    )


@app.command()
def checkpoint(
    out: Annotated[Path | None, typer.Option(help="Also write it to this file, to be kept elsewhere.")] = None,
    as_json: Json = False,
) -> None:
    """Sign what the log holds now. Kept elsewhere, it lets anyone find a tail that was cut later."""
    from services import audit, keys
    from services.audit import checkpoints
    from services.settings import load_settings
    from services.store.engine import open_store

    settings = load_settings()
    store = open_store(settings.store_url)
    try:
        with store.write() as session:
            signed = audit.checkpoint(session, keys.load_private(settings, "audit"))
    finally:
        store.close()
    if out is not None:
        checkpoints.write(out, signed)
    point = signed.checkpoint
    _show(as_json, signed.to_json(), f"{point.size} entries, head {point.head}, signed with {point.key_id}")


@app.command()
def stamp(
    tsa: Annotated[str, typer.Option(help="Address of a time-stamping authority (RFC 3161).")],
    out: Annotated[Path, typer.Option(help="Where to write the stamped checkpoint, to be kept elsewhere.")],
    as_json: Json = False,
) -> None:
    """Have somebody else's clock attest what the log holds now; the authority sees a digest only."""
    from services import audit, keys
    from services.audit import stamps
    from services.settings import load_settings
    from services.store.engine import open_store

    settings = load_settings()
    store = open_store(settings.store_url)
    try:
        with store.write() as session:
            signed = audit.checkpoint(session, keys.load_private(settings, "audit"))
    finally:
        store.close()
    stamps.write(out, stamps.request_stamp(signed, tsa))
    _show(as_json, {"file": str(out), **signed.to_json()}, f"{signed.checkpoint.size} entries, stamped in {out}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A bundle that `lethe audit export` wrote.")],
    trust: Annotated[Path, typer.Option(help="The public keys: trust.json of the installation.")],
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint that was kept elsewhere.")] = None,
    stamp: Annotated[Path | None, typer.Option(help="A stamped checkpoint, with --tsa-root.")] = None,
    tsa_root: Annotated[Path | None, typer.Option(help="Root certificate (PEM) of the authority.")] = None,
    as_json: Json = False,
) -> None:
    """Check an exported log offline: exit status 0 if it is right, 1 if it is not."""
    from services import audit, keys
    from services.audit import checkpoints, stamps

    if (stamp is None) != (tsa_root is None) or (stamp and checkpoint):
        raise typer.BadParameter("--stamp goes with --tsa-root, and takes the place of --checkpoint")
    point = None if checkpoint is None else checkpoints.read(checkpoint)
    at = None
    if stamp is not None and tsa_root is not None:
        stamped = stamps.read(stamp)
        point, at = stamped.checkpoint, stamps.stamped_at(stamped, _content(tsa_root)).isoformat()
    result = audit.verify(file, keys.load_trust(trust), point)
    note = "" if at is None else f"\nThe checkpoint was stamped {at} by the authority given."
    _show(as_json, {**result.to_json(), "stamped_at": at}, _told(result) + note)
    if not result.ok:
        raise typer.Exit(NOT_RIGHT)


@app.command("rotate-key")
def rotate_key(
    purpose: Annotated[str, typer.Argument(help="audit, adapter or verdict.")], as_json: Json = False
) -> None:
    """Retire a signing key and make the next one; what the old one signed stays right."""
    from services import audit, keys
    from services.settings import load_settings
    from services.store.engine import open_store

    chosen = next((known for known in keys.PURPOSES if known == purpose), None)
    if chosen is None:
        raise typer.BadParameter(f"one of {', '.join(keys.PURPOSES)}")
    settings = load_settings()
    keys.must_be_kept(settings)
    store = open_store(settings.store_url)
    try:
        old = keys.load_private(settings, chosen).id
        new = keys.rotate(settings, chosen).id
        with store.write() as session:
            audit.append(session, kind="key.rotated", payload={"purpose": purpose, "retired": old, "created": new})
    finally:
        store.close()
    _show(as_json, {"purpose": purpose, "retired": old, "created": new}, f"{old} is retired, {new} signs from now on")


def _content(file: Path) -> bytes:
    from policies.errors import LetheError

    try:
        return file.read_bytes()
    except OSError as error:
        raise LetheError("audit.unreadable", "The certificate file cannot be read.") from error


def _told(result: "AuditVerification") -> str:
    verdict = "The log is right." if result.ok else "THE LOG IS NOT RIGHT."
    lines = [
        verdict,
        f"{result.entries} entries, {result.checkpoints} checkpoints, signed to its end {result.signed_at}",
    ]
    lines += [f"line {fault.line}: {fault.code}" for fault in result.faults]
    return "\n".join([*lines, result.note]).rstrip()


def _show(as_json: bool, value: dict[str, Any], text: str) -> None:
    print(json.dumps(value) if as_json else text)
