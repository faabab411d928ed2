"""Networks, losses, data sets, training, evaluation, export to a model package. The daemon never imports it."""
