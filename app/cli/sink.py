"""``python -m app sink``: the HTTP target of demo, tests and benchmarks, as its own process."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from app.adapters.targets.sink import Behaviour, Ledger, Sink


def sink(
    host: Annotated[str, typer.Option(help="The address that it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port; 0 takes a free one.", min=0, max=65535)] = 0,
    history: Annotated[
        Path | None, typer.Option(help="Append every request to this file, a JSON object a line.")
    ] = None,
    honours_keys: Annotated[
        bool, typer.Option(help="Recognise a repeated Idempotency-Key, or apply it again.")
    ] = True,
    delay_ms: Annotated[int, typer.Option(help="How long each effect takes.", min=0)] = 0,
    fail_first: Annotated[
        int, typer.Option(help="Answer 503 to the first N requests of each key.", min=0)
    ] = 0,
    act_then_hang_every: Annotated[
        int, typer.Option(help="Apply every Nth request and never answer it; 0 answers all.", min=0)
    ] = 0,
    answers: Annotated[
        bool, typer.Option(help="Append to the history when each request was answered, too.")
    ] = False,
) -> None:
    """Run an HTTP target that honours idempotency keys and counts what it received and applied.

    Prints its address as the first line, when it listens. Ends on SIGINT and SIGTERM.
    """
    listener = _listen(host, port)
    ledger = Ledger(history=history, with_answers=answers)
    ledger.open()
    behaviour = Behaviour(honours_keys, delay_ms / 1000, fail_first, act_then_hang_every)
    config = uvicorn.Config(
        Sink(ledger, behaviour),
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    print(f"http://{host}:{listener.getsockname()[1]}", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        ledger.close()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        print(
            f"The sink cannot listen on {host}:{port}: {error.strerror}. "
            "Stop what holds the port, or choose another with --port.",
            file=sys.stderr,
        )
        raise typer.Exit(1) from None
    listener.listen(1024)
    return listener


if __name__ == "__main__":
    typer.run(sink)
