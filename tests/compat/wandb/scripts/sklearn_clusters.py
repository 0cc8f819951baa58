"""Clusters."""

import warnings

warnings.simplefilter("ignore")
import wandb
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

X, _ = make_blobs(60, random_state=0)
with wandb.init(project="clusters") as run:
    for k in range(2, 5):
        run.log({"k": k, "inertia": KMeans(k, n_init=2, random_state=0).fit(X).inertia_})
    wandb.sklearn.plot_elbow_curve(KMeans(n_init=2, random_state=0), X, cluster_ranges=[1, 2, 3])
    print(run.summary["k"])
