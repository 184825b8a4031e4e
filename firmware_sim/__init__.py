"""The simulator: runs a firmware on a simulated core and counts what it costs."""

from firmware_sim.result import SimResult
from firmware_sim.simulator import default_regions, simulate

__all__ = ["SimResult", "default_regions", "simulate"]
