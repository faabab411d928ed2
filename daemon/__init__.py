"""The service: configuration, intake, assembly, dispatch, delivery, command line."""

import os

# Many small matrix products, each too short to share: with more threads BLAS spends its time spinning (ten times the
# processor time measured on two busy cores). Inference has its own threads. Must be set before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
