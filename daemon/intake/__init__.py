"""From the spool and from folders to the database: the spool's reader, watched folders, zip files, one-off folders."""
