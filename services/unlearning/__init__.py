"""The unlearning service and its runner."""
