"""Personal data in texts: rule-based recognisers, for the rails and for datasets. They download and call nothing."""
