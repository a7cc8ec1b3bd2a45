"""`python -m payneflow.cli` is `payneflow`."""

import sys

from payneflow.cli.main import main

sys.exit(main())
