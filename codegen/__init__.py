"""Generation of `sinch_qn/models.py` and of the sandbox's copy of the API description."""
