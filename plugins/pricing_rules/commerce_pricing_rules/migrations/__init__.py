"""What has to be in the database before any revision of ours."""

REQUIRES = {"core": "0023"}
