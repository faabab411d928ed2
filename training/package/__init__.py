"""From a run to a model package: network, description, card, further precisions."""
