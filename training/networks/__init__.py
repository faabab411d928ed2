"""The networks, as plain torch modules; logits out."""
