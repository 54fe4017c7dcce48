"""The river as a picture, drawn from the jobs' signatures."""

from __future__ import annotations

from collections.abc import Iterable

from recspark.runtime.job import Job, in_flow_order, tables_read
from recspark.tables.lineage import Source


def draw_graph(jobs: Iterable[Job]) -> str:
    """A Mermaid flow chart: sources, tables, and an arrow from each table to those that are computed from it."""
    edges: dict[tuple[str, str], None] = {}
    for job in in_flow_order(jobs):
        for one in job.inputs:
            if isinstance(one.marker, Source):
                edges[f"{one.marker.name}_source", job.writes.name] = None
        for read in tables_read(job):
            if read != job.writes.name:
                edges[read, job.writes.name] = None
    sources = sorted({source for source, _ in edges if source.endswith("_source")})
    lines = ["flowchart LR"]
    lines += [f"  {name}[/{name.removesuffix('_source')}/]" for name in sources]
    lines += [f"  {start} --> {end}" for start, end in edges]
    return "\n".join(lines)
