"""What happens while a model is fitted."""
