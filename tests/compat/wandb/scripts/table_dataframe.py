"""A data frame as a table, with a column more."""

import pandas as pd
import wandb

frame = pd.DataFrame({"name": ["a", "b", "c"], "score": [0.1, 0.2, 0.3]})
with wandb.init(project="frames") as run:
    table = wandb.Table(dataframe=frame)
    table.add_column("rank", [3, 2, 1])
    print(table.columns, table.get_column("rank"), table.data[0][0])
    print(table.get_dataframe()["name"].tolist())
    run.log({"table": table})
