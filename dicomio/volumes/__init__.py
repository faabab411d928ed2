"""From images to one volume: frames, pixels, geometry (slices sorted), the gate, grids, masks, registration."""
