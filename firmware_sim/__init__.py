"""The simulator: runs a firmware on a simulated core and counts what it costs."""

from firmware_sim.regions import default_regions
from firmware_sim.result import SimResult
from firmware_sim.simulator import simulate

__all__ = ["SimResult", "default_regions", "simulate"]
