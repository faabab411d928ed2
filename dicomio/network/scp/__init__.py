"""An association that a sender opened: the upper layer, C-STORE into the spool."""
