"""Fine-Tuning, Measured: the package behind the book and its labs."""

import logging

# Where bitsandbytes is installed, the libraries import it with the trainer, and on some CPUs it then prints that an optional package is
# missing. It does so in every notebook, whether 4-bit weights are used or not.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
