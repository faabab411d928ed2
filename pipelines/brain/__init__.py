"""Brain MR: the brain found and aligned, gliomas outlined by slice or by volume."""
