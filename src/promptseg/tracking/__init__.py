"""Objects through the frames of a video: memory is a value, a step takes a state and gives one."""
