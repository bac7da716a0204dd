"""The commands, one a module: each declares its options and hands over to the room that works."""
