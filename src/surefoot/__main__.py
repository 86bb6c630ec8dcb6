"""`python -m surefoot` is the command `surefoot`."""

import sys

from surefoot.cli import main

sys.exit(main())
