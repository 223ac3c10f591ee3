"""A report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from resnest_edge.report.markdown import DEMO, REAL
from resnest_edge.report.plots import accuracy_plot, colour, frontier_words, latency_plots
from resnest_edge.report.schema import SCHEMA, Report
from resnest_edge.report.table import table
from resnest_edge.report.words import environment_lines, evidence, headline, labels, method, when

_TEMPLATE = "report.html.j2"


def render_html(report: Report) -> str:
    """The report as a page for a browser, dark or light as the reader's system is, and for paper."""
    environment = Environment(
        loader=PackageLoader("resnest_edge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        report=report,
        reference=labels(report.rows)[0],
        headline=headline(report),
        evidence=evidence(report),
        created=when(report.created),
        accuracy_plot=accuracy_plot(report),
        frontier=frontier_words(report),
        latency_plots=latency_plots(report),
        table=table(report),
        colours=[colour(index) for index in range(len(report.rows))],
        method=method(report),
        environment=environment_lines(report.environment),
        demo_text=DEMO,
        demo_command=REAL,
        schema=SCHEMA,
    )
