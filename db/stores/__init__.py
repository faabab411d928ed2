"""What the database does, one class per subject; each is composed of plain functions over rows, in its folder."""
