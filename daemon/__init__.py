"""The service: configuration, intake, assembly, dispatch, delivery, command line."""
