"""The verbs, one file each. ``ifengine.transforms.table_of_steps`` lists them."""
