"""edgekit: from a large speech-emotion model to hearing-aid firmware.

The core package that every stage may import; stages never import each other (ARCHITECTURE.md).
"""

__version__ = "0.3.0"
