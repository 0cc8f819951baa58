"""Sounds and pages."""

import numpy as np
import wandb

with wandb.init(project="media") as run:
    wave = np.sin(np.linspace(0, 440 * 2 * np.pi, 8000)).astype(np.float32)
    with open("page.html", "w") as file:
        file.write("<h1>From a file</h1>")
    run.log({"page": wandb.Html("<b>bold</b>"), "file": wandb.Html(open("page.html"))})
    try:
        wandb.Audio(wave)
    except ValueError:
        print("raw samples need a rate")
