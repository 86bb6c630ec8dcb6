"""`python -m surefoot` is the command `surefoot`."""

import sys

from surefoot.cli.main import main

sys.exit(main())
