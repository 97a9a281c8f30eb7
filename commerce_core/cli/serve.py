"""`commerce serve`: everything a developer needs, in one terminal: database, web server, worker.

Children get what was worked out here (the database's address) through the environment, like any other setting.
"""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commerce_core.cli.shop import existing_config_argument
from commerce_core.cli.supervisor import (
    TICK_SECONDS,
    Child,
    Supervisor,
    how_it_ended,
    say,
    start_commerce,
    stop_signals_interrupt,
)
from commerce_core.cli.web import DEFAULT_HOST, DEFAULT_PORT, claim_port

if TYPE_CHECKING:
    from watchfiles.main import FileChange

URL_VARIABLE = "COMMERCE_SQLALCHEMY__URL"
SLOW_START_SECONDS = 20.0


@click.command()
@existing_config_argument
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="0 takes a free one.",
)
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Keep the database here.")
@click.option("--no-demo", is_flag=True, help="Do not fill an empty shop with demo products.")
@click.option("--reload", is_flag=True, help="Restart the web server when the source changes.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Web processes.")
def serve(config: Path, host: str, port: int, data_dir: Path | None, no_demo: bool, reload: bool, workers: int) -> None:
    """Run the whole shop: database, web server and worker, until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    port = claim_port(host, port)
    changes = _source_changes(config) if reload else _ticks()
    supervisor = Supervisor()
    with stop_signals_interrupt():
        try:
            environment = _start_database(supervisor, config, data_dir)
            _prepare(supervisor, config, environment, demo=not no_demo)
            commands = _commands_of_plugins(config)
            web_arguments = ["web", str(config), "--host", host, "--port", str(port), "--workers", str(workers)]
            children = {
                name: Child(name, partial(start_commerce, arguments, environment))
                for name, arguments in {"web": web_arguments, "worker": ["worker", str(config)], **commands}.items()
            }
            for child in children.values():
                supervisor.add(child)
            _wait_until_ready(supervisor, children["web"], host, port, patient=reload)
            say(f"Shop ready at {_address(host, port)}  (docs: /api/v1/docs)")
            for changed in changes:
                if changed:
                    say("Source changed; restarting web")
                    supervisor.restart(children["web"])
                supervisor.tend()
        except KeyboardInterrupt:
            say("\nStopping")
        finally:
            supervisor.stop()


def _start_database(supervisor: Supervisor, config: Path, data_dir: Path | None) -> dict[str, str]:
    """Start the embedded database, if that is what the settings name. Returns what the children need to know."""
    from commerce_core.embedded import EmbeddedPostgres, folder_of, is_embedded
    from commerce_core.settings import load_settings

    url = load_settings(config).sqlalchemy.url
    if not is_embedded(url):
        if data_dir:
            raise click.UsageError("--data-dir moves the embedded database, but sqlalchemy.url names a server.")
        return {}
    database = EmbeddedPostgres(data_dir / "postgres" if data_dir else folder_of(url))
    supervisor.add(Child("database", database.start, database.stop))
    return {URL_VARIABLE: database.url}


def _prepare(supervisor: Supervisor, config: Path, environment: dict[str, str], *, demo: bool) -> None:
    """Bring the tables up to date, and fill an empty shop."""
    steps = [["db", "upgrade", str(config)]]
    if demo:
        steps.append(["demo", "load", "--if-empty", str(config)])
    for arguments in steps:
        step = Child(" ".join(arguments[:2]), partial(start_commerce, arguments, environment))
        supervisor.add(step)
        assert step.process is not None
        code = step.process.wait()
        supervisor.children.remove(step)
        if code != 0:
            raise click.ClickException(f"`commerce {' '.join(arguments)}` {how_it_ended(code)}; see above.")


def _commands_of_plugins(config: Path) -> dict[str, list[str]]:
    """What plugins want to have running, by its name on the console. Raises BrokenPlugins."""
    from commerce_core.clock import Clock
    from commerce_core.plugins.host import PluginHost
    from commerce_core.plugins.startup import processes
    from commerce_core.settings import load_settings

    settings = load_settings(config)
    if not settings.commerce.plugins:
        return {}
    found = processes(PluginHost.load(settings, Clock()))
    return {process.name: [*process.command, str(config)] for process in found}


def _wait_until_ready(supervisor: Supervisor, web: Child, host: str, port: int, *, patient: bool) -> None:
    """Return when the web server says that the shop is ready. Its death is final unless `patient`."""
    started = time.monotonic()
    said = False
    while (answer := _readiness(host, port)) != "200":
        if not patient and web.process is not None and (code := web.process.poll()) is not None:
            raise click.ClickException(f"The web server {how_it_ended(code)} before it was ready; see above.")
        if not said and time.monotonic() - started > SLOW_START_SECONDS:
            say(f"Still waiting for {_address(host, port)}/readyz ({answer})", problem=True)
            said = True
        supervisor.tend()
        time.sleep(TICK_SECONDS / 4)


def _readiness(host: str, port: int) -> str:
    """The status of /readyz, or why there is none."""
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """Where to reach a server that listens on `host`, which may mean every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _address(host: str, port: int) -> str:
    name = _reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _ticks() -> Iterator[set[FileChange]]:
    while True:
        time.sleep(TICK_SECONDS)
        yield set()


def _source_changes(config: Path) -> Iterator[set[FileChange]]:
    """What changed in the package and the .ini file since the last tick, mostly nothing."""
    try:
        import watchfiles
    except ImportError as error:
        raise click.ClickException("--reload needs watchfiles: pip install commerce-core[dev]") from error
    tick = int(TICK_SECONDS * 1000)
    changes = watchfiles.watch(
        Path(__file__).parents[1],
        config.resolve(),
        watch_filter=watchfiles.PythonFilter(extra_extensions=(".ini",)),
        rust_timeout=tick,
        yield_on_timeout=True,
    )
    next(changes)  # it watches from now on, and not only once the shop is ready
    return changes
