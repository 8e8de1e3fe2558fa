"""From a folder of images to the configuration of a run: what is in it, which space, how long."""
