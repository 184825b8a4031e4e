"""What a build came to: one `Report`, assembled from the stages' JSON files."""

from edgekit.report.assemble import STAGES, assemble
from edgekit.report.figures import Figure, Limit, Verdict
from edgekit.report.model import Report
from edgekit.report.rows import LayerCost, Parity

__all__ = ["STAGES", "Figure", "LayerCost", "Limit", "Parity", "Report", "Verdict", "assemble"]
