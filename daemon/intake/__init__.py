"""From the doors to the database: the spool's reader, watched folders, archives, and folders that are read once."""
