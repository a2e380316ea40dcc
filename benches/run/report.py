"""Figures as people and programs read them: minimum, median and maximum of the repeats, a table, a plot."""

import json
import os
import platform
import statistics
from pathlib import Path


def spread(values):
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


class Rows:
    """Runs of the same kind, gathered by what they are of."""

    MEMBERS = ("rate", "p50_ms", "p99_ms", "p999_ms", "server_us", "backend_us", "client_us", "server_cores", "other_cores",
               "rss_bytes", "commits", "disk_bytes", "asked_rate")

    def __init__(self):
        self.rows = {}

    def add(self, who, scenario, door, figures):
        key = (who, scenario, door, figures["sessions"], figures["mode"])
        self.rows.setdefault(key, []).append(figures)
        bad = f"  {figures['bad']} failed: {figures['fault']}" if figures["bad"] else ""
        print(f"  {who:<10} {scenario:<9} {door:<5} {figures['sessions']:>3} {figures['mode']:<6} {figures['rate']:8.0f}/s"
              f"  p99 {figures['p99_ms']:7.2f} ms  CPU {figures['server_us']:7.1f} us"
              f"  others {figures['other_cores']:4.2f} cores{bad}", flush=True)
        return figures

    def json(self):
        told = []
        for (who, scenario, door, sessions, mode), runs in self.rows.items():
            row = {"who": who, "scenario": scenario, "door": door, "sessions": sessions, "mode": mode,
                   "bad": sum(one["bad"] for one in runs), "done": sum(one["done"] for one in runs)}
            for name in self.MEMBERS:
                values = [one[name] for one in runs if one.get(name) is not None]
                if values:
                    row[name] = spread(values)
            told.append(row)
        return told


def shown(spread_of, digits=0):
    return "/".join(f"{spread_of[at]:.{digits}f}" for at in ("min", "median", "max")) if spread_of else "-"


def table(rows):
    """A table in Markdown, one line a row."""
    lines = [
        "| who | job | door | sessions | per second | p50 ms | p99 ms | p99.9 ms | CPU us | of its backend | commits | memory MB | disk bytes | others' cores | failed |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        middle = {name: row[name]["median"] for name in Rows.MEMBERS if name in row}
        at = f"{row['sessions']} open" if row["mode"] == "open" else str(row["sessions"])
        backend = f"{middle['backend_us']:.0f}" if middle.get("backend_us") else "-"
        commits = f"{middle['commits']:.2f}" if "commits" in middle else "-"
        memory = f"{middle['rss_bytes'] / 1e6:.0f}" if "rss_bytes" in middle else "-"
        disk = f"{middle['disk_bytes']:.0f}" if "disk_bytes" in middle else "-"
        lines.append(
            f"| {row['who']} | {row['scenario']} | {row['door']} | {at} | {shown(row['rate'])} | {middle['p50_ms']:.2f} | "
            f"{middle['p99_ms']:.2f} | {middle['p999_ms']:.2f} | {shown(row['server_us'])} | {backend} | {commits} | {memory} | "
            f"{disk} | {middle['other_cores']:.2f} | {row['bad']} |")
    return "\n".join(lines)


def machine(work, syncs):
    """What the figures were measured on."""
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    return {"cores": len(os.sched_getaffinity(0)), "cpu": cpu, "kernel": platform.release(), "file_system": work.kind,
            "sync_ms": {"median": syncs[0], "p99": syncs[1]}}


def write(folder, name, told, plot=None):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    if plot:
        (folder / f"{name}.svg").write_text(plot)
    print(f"\nwritten: {folder / name}.json{' and .svg' if plot else ''}")


def text(x, y, what, anchor="start", size=12, more=""):
    what = what.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}"{more}>{what}</text>'


def plot(title, rows, stacks):
    """An SVG: a bar a row for its rate, with a line from minimum to maximum; and what the CPU time of one is made of.

    `stacks` are pairs of a name and a list of parts, each a name and microseconds.
    """
    colours = ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#bab0ac"]
    left, width, bar = 230, 560, 18
    height = 90 + (bar + 6) * (len(rows) + len(stacks)) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 130}" height="{height}" '
           f'font-family="sans-serif"><rect width="100%" height="100%" fill="#fff"/>', text(10, 24, title, size=15)]
    most = max((row["rate"]["max"] for row in rows), default=1) or 1
    y = 50
    out.append(text(10, y, "per second: median, and from minimum to maximum"))
    for row in rows:
        y += bar + 6
        rate = row["rate"]
        name = f"{row['who']} {row['scenario']} {row['door']} {row['sessions']}{' open' if row['mode'] == 'open' else ''}"
        out.append(text(left - 8, y, name, "end"))
        fill = colours[1] if row["who"] == "openbao" else colours[0]
        out.append(f'<rect x="{left}" y="{y - 13}" width="{rate["median"] / most * width:.1f}" height="{bar}" fill="{fill}"/>')
        low, high = left + rate["min"] / most * width, left + rate["max"] / most * width
        out.append(f'<path d="M{low:.1f} {y - 4}H{high:.1f}" stroke="#000"/>')
        out.append(text(high + 6, y, f"{rate['median']:.0f}"))
    y += bar + 26
    out.append(text(10, y, "CPU microseconds of one: the pieces, and the whole"))
    most = max((sum(value for _, value in parts) for _, parts in stacks), default=1) or 1
    for name, parts in stacks:
        y += bar + 6
        x = left
        out.append(text(left - 8, y, name, "end"))
        for at, (part, value) in enumerate(parts):
            wide = value / most * width
            out.append(f'<rect x="{x:.1f}" y="{y - 13}" width="{wide:.1f}" height="{bar}" fill="{colours[at % len(colours)]}">'
                       f"<title>{part}: {value:.1f}</title></rect>")
            if wide > 7 * len(part):
                out.append(text(x + 3, y, part, size=10, more=' fill="#fff"'))
            x += wide
        out.append(text(x + 6, y, f"{sum(value for _, value in parts):.0f}"))
    out.append("</svg>\n")
    return "\n".join(out)
