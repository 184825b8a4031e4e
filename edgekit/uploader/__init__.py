"""The host's side of flashing: update images, the link to a device, and the session over it."""
