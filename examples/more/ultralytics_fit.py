"""A small YOLO model that learns to find squares: `python examples/more/ultralytics_fit.py`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from ultralytics import YOLO

from rundial.integrations.ultralytics import RundialUltralyticsCallback


def squares(folder: Path) -> Path:
    """Eight pictures with a square each, in the layout that YOLO reads."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(8):
        picture = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(picture).rectangle([8 + index, 8, 20 + index, 20], fill="red")
        picture.save(folder / f"images/{index}.png")
        (folder / f"labels/{index}.txt").write_text(f"0 {(14 + index) / 32} {14 / 32} {12 / 32} {12 / 32}\n")
    path = folder / "data.yaml"
    path.write_text(json.dumps({"path": str(folder), "train": "images", "val": "images", "names": {"0": "square"}}))
    return path


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = YOLO("yolov8n.yaml", verbose=False)
        RundialUltralyticsCallback(project="squares", log_model=True).attach(model)
        data = squares(Path(folder) / "data")
        model.train(
            data=str(data),
            project=folder,
            epochs=2,
            imgsz=32,
            batch=4,
            workers=0,
            device="cpu",
            amp=False,
            plots=False,
            verbose=False,
        )
    print("trained for 2 epochs")


if __name__ == "__main__":
    main()
