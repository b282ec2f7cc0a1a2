"""README, docs and examples do what they say."""
