"""Questions about very many images, kept until each has its answer, whatever dies meanwhile."""
