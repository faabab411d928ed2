"""From images to one volume: frames, pixels, the geometry gate, grids, masks, registration."""
