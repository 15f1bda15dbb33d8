"""Topics as they are declared in files and ConfigMaps: read, checked, written, and brought over from other tools. Pure."""
