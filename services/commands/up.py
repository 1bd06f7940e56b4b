"""`lethe up`."""

import typer

app = typer.Typer()


@app.command()
def up() -> None:
    """Start the three services on this host and keep them running until Ctrl-C; a service that dies is restarted."""
    import signal
    import threading

    from services.settings import load_settings
    from services.up import prepare, supervisor

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings()
    installation = prepare(settings, lambda what: print(f"preparing: {what}", flush=True))
    with supervisor(installation) as running:
        running.wait_ready(300, lambda name: print(f"ready: {name}", flush=True))
        print(f"intake      {settings.intake.url}")
        print(f"unlearning  {settings.unlearning.url}")
        print(f"serving     {settings.serving.url}/v1 (model {settings.serving.model_names[0]})")
        print(f"logs in     {installation.path('logs')}; Ctrl-C stops everything", flush=True)
        while not stop.wait(0.2):
            running.tick()
    print("stopped")
