"""Studies and their images: what came in, what was corrected, in conflict or lost, and when a study is complete."""
