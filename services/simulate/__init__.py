"""What a year of arrivals would ask of an installation, played through with the product's own planner and calendars."""
