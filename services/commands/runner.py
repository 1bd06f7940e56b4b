"""`lethe runner`."""

import typer

app = typer.Typer()


@app.command()
def runner() -> None:
    """Answer the unlearning service on stdin and stdout. Not meant to be started by hand."""
    from services.unlearning.runner import main

    main()
