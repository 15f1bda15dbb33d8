"""`topics`: definitions of topics checked, written from a live cluster, and converted from other tools' files."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from kafka_runbooks.cli import live_kafka
from kafka_runbooks.cli.exits import BAD_INPUT, FAILED, fail
from kafka_runbooks.cli.output import console
from kafka_runbooks.cli.parameters import Format, OutputOption, typer_app
from kafka_runbooks.clients import topics as clients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.clients.security.files import BadFile
from kafka_runbooks.documents import Fault
from kafka_runbooks.models.topics import TopicDefinitions, TopicFacts
from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.topics import checking, export, migration, writing
from kafka_runbooks.topics.reading import Definitions, Reading, read, together

app = typer_app("Check topics' definitions, and write those of a cluster or of other tools' files. Changes nothing.")

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE…", help="Definitions, or manifests of ConfigMaps with them (YAML).")
]
KafkaConfigOption = Annotated[
    Path | None, typer.Option(help="With --bootstrap: YAML that says how to connect, as `security` of a clusters file.")
]


@app.command("check")
def check(
    files: FilesArgument,
    bootstrap: Annotated[
        str | None, typer.Option(help="Bootstrap servers of the cluster, to check against what it has and knows.")
    ] = None,
    kafka_config: KafkaConfigOption = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Check definitions: every fault with its file and line, all at once.

    Give all files of a cluster together, for names may collide between any two. Without a cluster it checks what definitions
    alone can tell, and says what it didn't. Exit codes: 0 no fault, 1 the cluster can't be read, 2 faults.
    """
    reading = _read(files)
    facts = None
    if bootstrap is not None:
        with _cluster(bootstrap, kafka_config) as kafka:
            facts = _facts(kafka, reading.definitions)
    elif kafka_config is not None:
        fail(BAD_INPUT, "--kafka-config: only with --bootstrap SERVERS")
    faults = [*reading.faults, *checking.check(reading.definitions, facts)]
    faults.sort(key=lambda fault: (fault.place.source, fault.place.line))
    unchecked = checking.unchecked(reading.definitions, facts)
    _show_check(len(reading.definitions.by_name), faults, unchecked, output)
    if faults:
        raise typer.Exit(BAD_INPUT)


@app.command("export")
def write(
    bootstrap: Annotated[str, typer.Option(help="Bootstrap servers of the cluster.")],
    kafka_config: KafkaConfigOption = None,
    maps: Annotated[
        list[Path] | None, typer.Option(help="Definitions with the cluster's `maps`, to say of each topic which it is in.")
    ] = None,
) -> None:
    """Write definitions of a cluster's topics to stdout: what is set on them, not what they inherit.

    Checking them finds no fault. What can't be declared so is named in comments and on stderr: Kafka's own topics, throttles,
    topics in no map.
    """
    reading = _read(maps or [])
    # Of what these files say of topics nothing is asked.
    declared = Definitions(maps=reading.definitions.maps)
    _end_with(reading.faults)
    with _cluster(bootstrap, kafka_config) as kafka:
        facts = clients.observe(kafka)
        _end_with(checking.check(declared, facts))
        exported = export.declared(facts, [one.entry for one in declared.maps])
        read_back = export.as_read(exported.definitions)
        facts = clients.with_refused_configs(facts, kafka, partial(checking.refused_configs, read_back))
    _write(*export.without_faults(exported, facts))


@app.command("convert")
def convert(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Topics of topicctl, or what kafka-kit's registry answers to GET /v1/topics."),
    ],
) -> None:
    """Write definitions of other tools' files to stdout.

    What has no counterpart is named in comments and on stderr.
    """
    found = migration.Converted()
    for path in files:
        migration.convert(_text(path), str(path), found)
    _end_with(found.faults)
    _write(TopicDefinitions(topics=tuple(found.topics)), found.remarks)


def _read(files: Iterable[Path]) -> Reading:
    return together(read(_text(path), str(path)) for path in files)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        fail(BAD_INPUT, f"{path}: can't read the file: {reason}")


@contextmanager
def _cluster(bootstrap: str, kafka_config: Path | None) -> Iterator[Kafka]:
    """The cluster; what fails ends the command."""
    try:
        with live_kafka.opened(bootstrap, kafka_config) as kafka:
            yield kafka
    except BadInput as error:
        fail(BAD_INPUT, str(error))
    except BadFile as error:
        fail(BAD_INPUT, f"--kafka-config {kafka_config}: {error}")
    except ClientError as error:
        fail(FAILED, f"--bootstrap {bootstrap}: the cluster can't be read: {error}")


def _facts(kafka: Kafka, definitions: Definitions) -> TopicFacts:
    return clients.with_refused_configs(clients.observe(kafka), kafka, partial(checking.refused_configs, definitions))


def _end_with(faults: Sequence[Fault]) -> None:
    if faults:
        fail(BAD_INPUT, "\n".join(map(str, faults)))


def _write(definitions: TopicDefinitions, remarks: Iterable[str]) -> None:
    lines = [f"not taken over: {remark}" for remark in remarks]
    print(writing.text(definitions, lines), end="")
    for line in lines:
        print(line, file=sys.stderr)


def _show_check(topics: int, faults: Sequence[Fault], unchecked: Sequence[str], output: Format) -> None:
    if output is Format.JSON:
        listed = [{"file": fault.place.source, "line": fault.place.line, "message": fault.message} for fault in faults]
        print(json.dumps({"topics": topics, "faults": listed, "unchecked": unchecked}, indent=2))
        return
    screen = console()
    for fault in faults:
        screen.print(Text(str(fault)))
    for line in unchecked:
        screen.print(Text(f"not checked: {line}"))
    count = f"{len(faults)} fault{'' if len(faults) == 1 else 's'}" if faults else "no fault"
    screen.print(Text(f"{topics} topic{'' if topics == 1 else 's'}: {count}"))
