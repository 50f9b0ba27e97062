"""Two points on the cup and one off it, refined one by one, then the masks drawn over the photo."""

from pathlib import Path

import promptseg as ps

photo = ps.read(Path(__file__).with_name("coffee.jpg"))
with ps.load().session(photo) as session:
    session.add(ps.Points([(285, 150)]))
    masks = session.add(ps.Points([(290, 240), (450, 300)], labels=[1, 0]))

masks.plot(photo).save("coffee-clicked.png")
print(f"{masks.areas[0]} pixels, predicted IoU {masks.scores[0]:.2f}: coffee-clicked.png")
