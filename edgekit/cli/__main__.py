"""`python -m edgekit.cli`."""

import sys

from edgekit.cli.app import main

sys.exit(main())
