"""`kafka-runbooks-lab`: the lab from the command line. Exit codes: 0 done, 1 failed, 2 bad input or unsupported host."""

import os
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from kafka_runbooks_lab import kafka_tools, nodes, paths, temporal
from kafka_runbooks_lab.errors import BadInput, LabError, Unsupported
from kafka_runbooks_lab.lab import Lab
from kafka_runbooks_lab.workloads import Flavour

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_Node = Annotated[str, typer.Argument(help="A node's name, such as events-a (see `status`).")]


def _lab() -> Lab:
    return Lab(lambda line: print(line, flush=True))


@app.command()
def up(
    worker: Annotated[bool, typer.Option(help="Wait for the runbooks' worker too.")] = True,
    flavour: Annotated[Flavour, typer.Option(help="Where Kafka keeps its metadata; Kafka 3.9 with zookeeper.")] = Flavour.KRAFT,
    plaintext: Annotated[bool, typer.Option("--plaintext", help="Kafka without TLS and client certificates.")] = False,
) -> None:
    """Bring the lab up: Kubernetes, Kafka, Temporal, the worker. The first time it builds what it needs."""
    lab = _lab()
    if took := lab.up(worker=worker, flavour=flavour, plaintext=plaintext):
        print(f"up in {took:.1f} s; memory {lab.memory_bytes() / 1e9:.1f} GB")
    print(f"Temporal: 127.0.0.1:{temporal.GRPC_PORT}, UI: http://127.0.0.1:{temporal.UI_PORT}")


@app.command()
def down() -> None:
    """Stop the lab and remove everything, including leftovers of a crash."""
    _lab().down()
    print("the lab is down")


@app.command()
def status() -> None:
    """Nodes, pods and memory."""
    lab = _lab()
    if not lab.is_up():
        print("the lab is down")
        raise typer.Exit(1)
    table = Table("node", "group", "zone", "power", "Kubernetes", "pods", box=None)
    columns = "custom-columns=NODE:.spec.nodeName,NAME:.metadata.name,READY:.status.conditions[?(@.type=='Ready')].status"
    pods = [line.split() for line in lab.kubectl("get", "pods", "-A", "--no-headers", "-o", columns).splitlines()]
    conditions = {line.split()[0]: line.split()[1] for line in lab.kubectl("get", "nodes", "--no-headers").splitlines()}
    for node in lab.nodes():
        mine = ", ".join(name if ready == "True" else f"{name} (not ready)" for on, name, ready in pods if on == node.name)
        power = "on" if lab.has_power(node.name) else "off"
        table.add_row(node.name, node.group, node.zone, power, conditions.get(node.name, "no such node"), mine)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    waiting = [name for on, name, _ in pods if on == "<none>"]
    print(f"pods on no node: {', '.join(waiting) or 'none'}")
    print(f"memory {lab.memory_bytes() / 1e9:.1f} GB; state {paths.STATE}; Temporal UI http://127.0.0.1:{temporal.UI_PORT}")


@app.command("add-node")
def add_node(
    zone: Annotated[str, typer.Argument(help=f"One of {', '.join(nodes.ZONES)}.")],
    group: Annotated[str, typer.Option(help=f"One of {', '.join(nodes.GROUPS)}.")] = "events",
) -> None:
    """Add an empty node, as an autoscaler would, and print its name."""
    print(_lab().add_node(zone, group))


@app.command("kill-node")
def kill_node(node: _Node) -> None:
    """Cut a node's power. Kubernetes notices after the grace period of 12 s."""
    _lab().kill_node(node)


@app.command("start-node")
def start_node(node: _Node) -> None:
    """Power a node on again, with its disk unchanged."""
    _lab().start_node(node)


@app.command("delete-node")
def delete_node(node: _Node) -> None:
    """Remove a node permanently: the Kubernetes object, the machine and its disk."""
    _lab().delete_node(node)


@app.command("wipe-disk")
def wipe_disk(node: _Node) -> None:
    """Erase the disk of a node without power."""
    _lab().wipe_disk(node)


@app.command(context_settings=_PASS_ON)
def kubectl(context: typer.Context) -> None:
    """Run kubectl as the cluster's administrator."""
    lab = _lab()
    _become(lab.exec_argv(lab.kubectl_argv(*context.args)))


@app.command(context_settings=_PASS_ON)
def kafka(context: typer.Context, tool: Annotated[str, typer.Argument(help="topics, configs, … or a main class")]) -> None:
    """Run one of Kafka's command line tools, connected to the lab's brokers."""
    _become(_lab().exec_argv(kafka_tools.argv(tool, context.args)))


@app.command("exec", context_settings=_PASS_ON)
def execute(context: typer.Context) -> None:
    """Run any command in the lab's network, with its DNS names."""
    if not context.args:
        raise BadInput("exec needs a command")
    _become(_lab().exec_argv(context.args))


@app.command()
def logs(name: Annotated[str, typer.Argument(help="Name of a log; without it, logs are listed.")] = "") -> None:
    """Print a log of one of the lab's processes. Pods' logs: `kafka-runbooks-lab kubectl -n kafka logs …`."""
    found = sorted(file.stem for file in paths.LOGS.glob("*.log"))
    if not name:
        print("\n".join(found))
    elif name in found:
        sys.stdout.write((paths.LOGS / f"{name}.log").read_text(errors="replace"))
    else:
        raise BadInput(f"no log {name!r}; there are: {', '.join(found) or 'none, the lab is down'}")


def _become(argv: list[str]) -> NoReturn:
    """Replace this process, so that terminals, signals and exit codes are the command's own."""
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def main() -> None:
    """Entry point of the `kafka-runbooks-lab` command."""
    try:
        app()
    except (BadInput, Unsupported) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
