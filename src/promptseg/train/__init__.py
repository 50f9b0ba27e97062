"""Training of the built-in model: scenes, a simulated annotator, losses, and the loop."""

from promptseg.errors import MissingExtraError

try:
    import cv2  # noqa: F401  # everything in this package draws with it
    import skimage  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "training needs OpenCV and scikit-image, which are not installed",
        hint="pip install 'promptseg[train]'",
    ) from error
