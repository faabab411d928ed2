"""The commands of `scanward`, one file each: they read options, call the service, and print."""
