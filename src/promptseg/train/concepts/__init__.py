"""Training of networks that find things by phrases and examples, on drawn scenes of known words."""
