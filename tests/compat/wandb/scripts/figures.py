"""Figures of Matplotlib and Plotly."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import plotly.graph_objects as go
import wandb

with wandb.init(project="figures") as run:
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], [1, 4, 9])
    run.log({"image": wandb.Image(figure), "plotly": go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))})
    plt.close(figure)
    print(run.step)
