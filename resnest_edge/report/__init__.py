"""Reports: JSON is the truth; Markdown and HTML are rendered from it."""

from resnest_edge.report.assemble import BundleFacts, make_report
from resnest_edge.report.html import render_html
from resnest_edge.report.markdown import render_markdown
from resnest_edge.report.reading import load_report, load_sensitivity
from resnest_edge.report.schema import Report, Row
from resnest_edge.report.write import write_report

__all__ = [
    "BundleFacts",
    "Report",
    "Row",
    "load_report",
    "load_sensitivity",
    "make_report",
    "render_html",
    "render_markdown",
    "write_report",
]
