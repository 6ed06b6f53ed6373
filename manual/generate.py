"""Manual pages and shell completion out of the command's own parsers: ``generate.py man|completion FOLDER``."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, HelpFormatter, _StoreAction, _SubParsersAction
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage
from msgspec import NODEFAULT
from msgspec.inspect import EnumType, LiteralType, StructType, Type, type_info
from msgspec.structs import fields

from agent import __version__
from agent.cli.main import EXIT_CODES, VERBS
from agent.core import policy
from agent.core.codec import to_tree
from agent.core.request import Flavor, Image, Request
from agent.placement.language import ours
from agent.placement.language.keys import PLACING
from agent.scheduler.registry import all_filters
from agent.settings.document import Settings
from agent.settings.scheduling import DEFAULT_MULTIPLIERS

DAEMONS = ("agent", "scheduler", "standalone")
EXAMPLE = Path(__file__).parents[1] / "examples" / "database.toml"
POLICIES = {
    "cpu_policy": policy.CpuPolicy,
    "cpu_thread_policy": policy.ThreadPolicy,
    "emulator_threads_policy": policy.EmulatorPolicy,
    "numa_mempolicy": policy.MemPolicy,
    "pci_numa_affinity_policy": policy.PciAffinity,
}
ENVIRONMENT = """.TP
.B CELLWRIGHT_SCHEDULER
the scheduler that the cluster verbs and the agent ask, where
.B \\-\\-scheduler
does not say
.TP
.B CELLWRIGHT_TOKEN
the token for it"""
FILES = """.TP
.I /etc/cellwright/cellwright.toml
the settings; see
.BR cellwright.toml (5)
.TP
.I /etc/cellwright/conf.d/*.toml
drop-ins, read after it in the order of their names"""
SIGNALS = {
    "agent": """.TP
.B SIGHUP
reads the settings again
.TP
.B SIGTERM
ends the agent; guests run on
.TP
.I /var/lib/cellwright/agent.json
what the agent remembers; it may be deleted, domains say themselves whose they are
.TP
.I /var/lib/cellwright/journal
what was changed of guests and of the host, for
.BR cellwright\\-undo (1)
.TP
.I PREFIX/share/cellwright/systemd/agent\\-host.conf
a drop\\-in that lets the service write what
.B irq_steering
and
.B cpu_power_management
need: install it as
.I /etc/systemd/system/cellwright\\-agent.service.d/host.conf""",
    "standalone": """.TP
.B SIGHUP
reads the settings of the agent again
.TP
.B SIGTERM
ends both halves; guests run on""",
    "scheduler": """.TP
.B SIGHUP
reads filters, weighers, their parameters, and the TLS certificate again; other settings want a restart
.TP
.B SIGTERM
answers what was asked, lets waiting agents go, and ends""",
}


def parser_of(verb: str) -> ArgumentParser:
    """The parser that the command makes for a verb."""
    module = import_module("agent.cli." + verb.replace("-", "_"))
    parser = ArgumentParser(prog=f"cellwright {verb}", description=module.__doc__, formatter_class=HelpFormatter)
    module.configure(parser)
    return parser


def whole_parser() -> ArgumentParser:
    """One parser with a subcommand a verb, for completion."""
    parser = ArgumentParser(prog="cellwright", description="Places and proves virtual machines on NUMA cells and pCPUs")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="verb")
    for verb, line in VERBS.items():
        import_module("agent.cli." + verb.replace("-", "_")).configure(commands.add_parser(verb, help=line))
    return parser


def pages() -> Iterator[tuple[str, str]]:
    """File name and text of every manual page."""
    yield "cellwright.1", _main_page()
    yield "cellwright.toml.5", _settings_page()
    yield "cellwright-request.5", _request_page()
    for verb, line in VERBS.items():
        parser = parser_of(verb)
        parser.prog = f"cellwright-{verb}"
        page = Manpage(parser, _data=_data(line, 8 if verb in DAEMONS else 1))
        page.synopsis = ["cellwright", verb, *page.synopsis[2:]]
        if verb in DAEMONS:
            page.add_section("signals and files", "=", SIGNALS[verb] + "\n" + FILES)
        page.add_section("exit status", "=", _sentence(EXIT_CODES))
        page.add_section("see also", "=", ".BR cellwright (1),\n.BR cellwright.toml (5),\n.BR cellwright\\-request (5)")
        text = str(page).replace(f"{_escape(parser.prog)}\\fR \\fI", f"cellwright {_escape(verb)}\\fR \\fI")
        yield (
            f"cellwright-{verb}.{8 if verb in DAEMONS else 1}",
            text.replace(f"'{_escape(parser.prog)} ", f"'cellwright {_escape(verb)} "),
        )


def fish(parser: ArgumentParser) -> str:
    """Completion for fish, which shtab does not write."""
    lines = [
        f"complete -c cellwright -f -n __fish_use_subcommand -a {verb} -d {_quote(line)}"
        for verb, line in VERBS.items()
    ]
    for verb, command in _commands(parser).items():
        seen = f"__fish_seen_subcommand_from {verb}"
        actions = _commands(command)
        for name, inner in actions.items():
            shown = f"{seen}; and not __fish_seen_subcommand_from {' '.join(actions)}"
            lines.append(f"complete -c cellwright -f -n {_quote(shown)} -a {name} -d {_quote(inner.description)}")
        for option in [*_options(command), *(one for inner in actions.values() for one in _options(inner))]:
            lines.append(f"complete -c cellwright -n {_quote(seen)} {option}")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _options(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        words = [f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in action.option_strings]
        if words:
            takes = " -r" if isinstance(action, _StoreAction) else ""
            choices = f" -a {_quote(' '.join(map(str, action.choices)))}" if action.choices else ""
            yield f"{' '.join(words)}{takes}{choices} -d {_quote((action.help or '') % vars_of(action))}"


def vars_of(action: object) -> dict[str, object]:
    """What a help text may name with ``%(…)s``."""
    return {key: value for key, value in vars(action).items() if isinstance(key, str)}


def _commands(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    groups = (action for action in parser._actions if isinstance(action, _SubParsersAction))
    return {name: command for group in groups for name, command in group.choices.items()}


def _quote(text: str | None) -> str:
    return "'" + " ".join((text or "").split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _data(line: str, section: int) -> dict[str, object]:
    return {
        "description": line,
        "manual_section": section,
        "project_name": "cellwright",
        "version": __version__,
        "manual_title": "Cellwright",
    }


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("``", "")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.splitlines())


def _sentence(text: str) -> str:
    return _escape(text[0].upper() + text[1:] + ".")


def _main_page() -> str:
    lines = [f'.TH CELLWRIGHT 1 "" "cellwright {__version__}" "Cellwright"', ".SH NAME"]
    lines += ["cellwright \\- places virtual machines on NUMA cells and pCPUs, and proves that they stay there"]
    lines += [".SH SYNOPSIS", ".B cellwright", ".I VERB", "[options]", ".SH VERBS"]
    for verb, line in VERBS.items():
        lines += [".TP", f".BR cellwright\\-{_escape(verb)} ({8 if verb in DAEMONS else 1})", _escape(line)]
    lines += [".SH EXIT STATUS", _sentence(EXIT_CODES), ".SH ENVIRONMENT", ENVIRONMENT, ".SH FILES", FILES]
    lines += [".SH SEE ALSO", ".BR cellwright.toml (5),\n.BR cellwright\\-request (5)"]
    return "\n".join(lines) + "\n"


def _settings_page() -> str:
    lines = [f'.TH CELLWRIGHT.TOML 5 "" "cellwright {__version__}" "Cellwright"', ".SH NAME"]
    lines += ["cellwright.toml \\- settings of agent, scheduler and command", ".SH DESCRIPTION"]
    lines += ["TOML, one table a section.  An unknown section or key is refused.", ".B cellwright config check"]
    lines += ["reads the files and says which one decided what.", ".SH FILES", FILES]
    for section in fields(Settings):
        kind = type(section.default)
        lines += [f".SH [{section.name}]", _escape(" ".join((kind.__doc__ or "").split()))]
        for key in fields(kind):
            default = key.default if key.default is not NODEFAULT else key.default_factory()
            shown = "unset" if default is None else json.dumps(to_tree(default))  # which TOML reads, too
            lines += [".TP", f".B {_escape(key.name)}", f"default: {_escape(shown)}"]
            if words := _words_of(type_info(kind), key.name):
                lines[-1] += f"; allowed: {_escape(', '.join(words))}"
    lines += [".SH MULTIPLIERS", "Those in force where neither settings nor an aggregate say otherwise:"]
    lines += [line for key, value in DEFAULT_MULTIPLIERS.items() for line in (".br", _escape(f"{key} = {value}"))]
    lines += [".SH FILTERS", _escape(", ".join(sorted(all_filters(())))) + "."]
    return "\n".join(lines) + "\n"


def _words_of(section: Type, key: str) -> list[str]:
    """The words that a setting may hold, where they are told; none for numbers, paths and the like."""
    assert isinstance(section, StructType)
    kind = next(field.type for field in section.fields if field.name == key)
    if isinstance(kind, EnumType):
        return [str(word.value) for word in kind.cls]
    return [str(word) for word in kind.values] if isinstance(kind, LiteralType) else []


def _request_page() -> str:
    lines = [f'.TH CELLWRIGHT\\-REQUEST 5 "" "cellwright {__version__}" "Cellwright"', ".SH NAME"]
    lines += ["cellwright\\-request \\- what somebody wants placed: flavor, image, hints", ".SH DESCRIPTION"]
    lines += [
        "A file in JSON, TOML or YAML, told by the end of its name.  The keys are OpenStack's own; an unknown one"
    ]
    lines += ["is refused by name.", ".SH EXAMPLE", ".nf", _escape(EXAMPLE.read_text().rstrip()), ".fi"]
    for about, kind in (("request", Request), ("flavor", Flavor), ("image", Image)):
        lines += [f".SH KEYS OF THE {about.upper()}", _escape(" ".join((kind.__doc__ or "").split()))]
        lines += [f".br\n{_escape(', '.join(key.name for key in fields(kind)))}."]
    lines += [
        ".SH EXTRA SPECS OF OPENSTACK",
        "As in OpenStack Compute's reference of flavor extra specs; images have most",
    ]
    lines += ["of them as properties with", ".B hw_", "in front."]
    for name in sorted((*PLACING, "numa_cpus.N", "numa_mem.N")):
        allowed = ", ".join(POLICIES[name]) if name in POLICIES else ""
        lines += [".TP" if allowed else ".PP", f".B {_escape('hw:' + name)}", *([_escape(allowed)] if allowed else [])]
    lines += [".PP", _escape("quota:cpu_shares, quota:cpu_period, quota:cpu_quota, resources:VCPU, resources:PCPU,")]
    lines += [_escape("trait:HW_CPU_HYPERTHREADING and pci_passthrough:alias are read too.")]
    lines += [".SH EXTRA SPECS OF CELLWRIGHT"]
    table = [line for line in (ours.__doc__ or "").splitlines() if line.startswith("| cw:")]
    for key, values, means in ([cell.strip() for cell in line.strip("|").split("|")] for line in table):
        lines += [".TP", f".B {_escape(key)}", f".I {_escape(values)}", ".br", _escape(means)]
    return "\n".join(lines) + "\n"


def main(what: str, folder: Path) -> None:
    """Write the pages, or the completions, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if what == "man":
        for name, text in pages():
            (folder / name).write_text(text)
    else:
        parser = whole_parser()
        (folder / "cellwright.bash").write_text(shtab.complete(parser, "bash"))
        (folder / "_cellwright").write_text(shtab.complete(parser, "zsh"))
        (folder / "cellwright.fish").write_text(fish(parser))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
