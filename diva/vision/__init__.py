"""Images to features: networks, transforms, extraction; imports store, text, and of numerics the choice of device."""
