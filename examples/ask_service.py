"""The cup, of a service: start one with `promptseg serve`, then `python ask_service.py [URL]`."""

import sys
from pathlib import Path

import promptseg as ps
from promptseg.client import Client

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
photo = Path(__file__).with_name("coffee.jpg")
with Client(url) as client, client.session(photo) as session:
    session.add(ps.Points([(285, 150)]))
    masks = session.add(ps.Points([(290, 240), (450, 300)], labels=[1, 0]))

masks.plot(ps.read(photo)).save("coffee-asked.png")
print(f"{masks.areas[0]} pixels, predicted IoU {masks.scores[0]:.2f}: coffee-asked.png")
