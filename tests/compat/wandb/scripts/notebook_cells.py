# %% [markdown]
# # A notebook, as a script

# %%
import wandb

wandb.login()

# %%
run = wandb.init(project="notebook", save_code=True)
config = wandb.config
config.epochs = 3

# %%
for epoch in range(config.epochs):
    wandb.log({"epoch": epoch})

# %%
wandb.init(project="notebook")
print(wandb.run is run, wandb.run.step)

# %%
wandb.finish()
