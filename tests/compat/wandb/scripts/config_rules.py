"""What a configuration lets one do, and what not."""

import wandb
from wandb.sdk.lib.config_util import ConfigError

wandb.init(project="config-rules", config={"a": 1, "nested": {"b": [1, 2]}})
config = wandb.config
config.c = "text"
config["d"] = 2.5
config.setdefaults({"a": 99, "e": None})
try:
    config.update({"a": 2})
except ConfigError as error:
    print("refused:", str(error).splitlines()[0])
config.update({"a": 2}, allow_val_change=True)
print({**config}, "a" in config, config.get("nothing", 7), config.nested["b"])
try:
    print(config.nothing)
except AttributeError:
    print("no attribute")
wandb.finish()
