"""`python -m sinch_qn.cli` is `sinch-qn`."""

import sys

from sinch_qn.cli import main

sys.exit(main())
