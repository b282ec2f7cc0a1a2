"""The reading of numbers, files, codes and LOAs."""
