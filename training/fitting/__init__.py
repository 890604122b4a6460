"""What `training.fit` puts together: how a run begins, and whether it goes well."""
