"""What a build came to: one `Report`, assembled from the stages' JSON files."""

from edgekit.report.assemble import STAGES, assemble
from edgekit.report.model import Figure, LayerCost, Parity, Report, Verdict

__all__ = ["STAGES", "Figure", "LayerCost", "Parity", "Report", "Verdict", "assemble"]
