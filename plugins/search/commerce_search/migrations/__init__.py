REQUIRES = {"core": "0024"}
