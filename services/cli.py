"""The `lethe` command. Areas are imported only when called, so that `lethe --help` answers at once."""

import importlib
import json
import sys
from typing import Any

import typer
import typer.core
import typer.main

from policies.errors import LetheError

# command -> (module with a typer `app` or a function named like the command, one line of help)
AREAS: dict[str, tuple[str, str]] = {
    "demo": ("services.commands.demo", "One erasure ticket, from filing to a verified adapter that is live."),
    "up": ("services.commands.up", "Start and supervise all services on this host."),
    "corpus": ("services.commands.corpus", "Make an example corpus of invented people."),
    "base": ("services.commands.base", "Train or check a base model."),
    "control": ("services.commands.control", "Train the base again without a subject, to compare with."),
    "policy": ("services.commands.policy", "Check, list and show policy packs."),
    "subject": ("services.commands.subject", "Find a person's records in a corpus; measure the search."),
    "ticket": ("services.commands.ticket", "Submit, list, show, approve, deny and hold erasure tickets."),
    "suppression": ("services.commands.suppression", "List and show who is suppressed in answers, by ticket."),
    "run": ("services.commands.run", "List, show and cancel unlearning runs."),
    "verify": ("services.commands.verify", "Score answers: KFR, KRR, LS."),
    "bench": ("services.commands.bench", "Compare every unlearning method on a public data set."),
    "study": ("services.commands.study", "Studies on invented people: a stream of erasures, exposure over steps."),
    "release": ("services.commands.release", "List, show, promote, roll back and re-check released adapters."),
    "recover": ("services.commands.recover", "Rebuild a store that is older than what was served."),
    "adapter": ("services.commands.adapter", "Verify a released adapter's signatures."),
    "init": ("services.commands.init", "Make an installation in LETHE_HOME, or bring it up to date."),
    "migrate": ("services.commands.migrate", "Bring the databases to this version's schema, and nothing else."),
    "report": ("services.commands.report", "The report of a ticket, as JSON, HTML or PDF."),
    "deletion": ("services.commands.deletion", "Delete source records of forgotten people, and show the proof."),
    "retention": ("services.commands.retention", "Delete what was kept of people once its time is over."),
    "register": ("services.commands.register", "Registers of processing and of requests, as CSV or JSON."),
    "rights": ("services.commands.rights", "What the served model says about a person (GDPR Art. 15)."),
    "audit": ("services.commands.audit", "Export and verify the audit log."),
    "sender": ("services.commands.sender", "Systems that file tickets over a protocol."),
    "callback": ("services.commands.callback", "What was told to senders; send again what was given up."),
    "key": ("services.commands.key", "API keys."),
    "letter": ("services.commands.letter", "Letters to subjects and notices to recipients."),
    "recipient": ("services.commands.recipient", "To whom data or adapters went, and who must be told."),
    "account": ("services.commands.account", "People who log in at the identity provider."),
    "simulate": ("services.commands.simulate", "A year of arrivals: GPU hours, missed dates, capacity."),
    "doctor": ("services.commands.doctor", "Look at settings, keys, stores, clocks and engine; say what to mend."),
    "runner": ("services.commands.runner", "The training process (started by the unlearning service)."),
}


class LazyGroup(typer.core.TyperGroup):
    """A command group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of ``AREAS``."""
        return list(AREAS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one area and hand out its command; None for an unknown name."""
        if cmd_name not in AREAS:
            return None
        module, text = AREAS[cmd_name]
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name, command.help = cmd_name, command.help or text
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the areas without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in AREAS.items()])


app = typer.Typer(
    cls=LazyGroup,
    name="lethe",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Makes a fine-tuned language model forget a person, proves it, and keeps it serving meanwhile.",
)


@app.callback()
def root() -> None:
    """The options that every command shares: none."""


def main() -> None:
    """Run the command line; a LetheError becomes a message with its code and remedy, and exit code 2."""
    try:
        app()
    except LetheError as error:
        if "--json" in sys.argv:
            print(json.dumps(error.body()))
        else:
            print(f"lethe: {error.message} [{error.code}]", file=sys.stderr)
            for detail in error.details:
                print(f"  - {detail}", file=sys.stderr)
            print(f"  {error.kind.remedy}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
