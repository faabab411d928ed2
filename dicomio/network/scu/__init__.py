"""An association that we open: C-ECHO, C-STORE, C-FIND."""
