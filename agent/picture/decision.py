"""A scheduler's decision as text: what each filter left, the weights, the misfits."""

from __future__ import annotations

from typing import Any


def render_decision(decision: dict[str, Any]) -> str:
    """The decision document as lines that a human reads top to bottom."""
    trace, placement = decision["trace"], decision["placement"]
    lines = [f"{trace['hosts']} host{'s' * (trace['hosts'] != 1)}"]
    if trace["ignored"]:
        lines.append(f"  - {trace['ignored']} that the request ignores")
    for step in trace["removed"]:
        left = step["before"] - step["removed"]
        lines.append(f"  - {step['removed']} by {step['filter']} (wants {step['wants']}), {left} left")
    if trace["best"]:
        lines.append("weights, best first:")
        width = max(len(row["host"]) for row in trace["best"])
        for row in trace["best"]:
            parts = ", ".join(f"{name} {value:+.3f}" for name, value in row["parts"].items())
            lines.append(f"  {row['host']:<{width}}  {row['weight']:12.6f}  {parts}".rstrip())
    if trace["misfits"] and not trace["misfits_count"]:
        lines.append("nearest:")
    for misfit in trace["misfits"]:
        lines += [f"  {misfit['host']}: {reason['message']}" for reason in misfit["misfits"]]
        if misfit["nearest"] is not None:
            lines.append(f"  {misfit['host']}: {misfit['nearest']['message']} [{misfit['nearest']['change']}]")
    if placement is None:
        lines.append("no host")
    else:
        cells = ", ".join(f"guest cell {c['guest_cell']} on cell {c['host_cell']}" for c in placement["cells"])
        lines.append(f"chosen: {placement['host']}" + (f", {cells}" if cells else ""))
        others = decision["alternates"]
        if others:
            lines.append(f"alternates: {', '.join(others)}")
    return "\n".join(lines)
