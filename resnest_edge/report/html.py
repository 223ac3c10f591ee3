"""A report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from resnest_edge.report.figures import measured_figures, published_figure, sensitivity_figure
from resnest_edge.report.layer_times import layer_figures
from resnest_edge.report.markdown import DEMO, REAL
from resnest_edge.report.plots import colour
from resnest_edge.report.schema import SCHEMA, Report
from resnest_edge.report.table import table
from resnest_edge.report.words import environment_lines, evidence, headline, method, when


def render_html(report: Report) -> str:
    """The report as a page for a browser, dark or light as the reader's system is, and for paper."""
    return render_page(
        "report.html.j2",
        title=report.title,
        report=report,
        headline=whole_words(headline(report)),
        evidence=evidence(report),
        created=when(report.created),
        figures=measured_figures(report),
        layers=layer_figures(report),
        sensitivity=sensitivity_figure(report),
        published=published_figure(report),
        table=table(report),
        colours=[colour(index) for index in range(len(report.rows))],
        method=method(report),
        environment=environment_lines(report.environment),
        demo_text=DEMO,
        demo_command=REAL,
        schema=SCHEMA,
    )


def whole_words(text: str) -> Markup:
    """Text escaped for HTML, in which ``top-1`` is never broken at its hyphen."""
    return Markup('<span class="whole">top-1</span>').join(escape(part) for part in text.split("top-1"))


def render_page(template: str, **values: Any) -> str:
    """Fill one of the package's templates; whatever it is given is escaped, and nothing it names may be missing."""
    environment = Environment(
        loader=PackageLoader("resnest_edge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
