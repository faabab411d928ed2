"""The steps of a job: assembly of complete studies, dispatch to the workers, delivery to the destinations."""
