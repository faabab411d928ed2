"""Jobs: how one is made and takes the place of an older one, runs and ends; and the list of them."""
