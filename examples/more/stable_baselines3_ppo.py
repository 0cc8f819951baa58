"""An agent that learns to hold a pole, with Stable-Baselines3: `python examples/more/stable_baselines3_ppo.py`."""

from __future__ import annotations

from stable_baselines3 import PPO

from rundial.integrations.stable_baselines3 import RundialSB3Callback


def main() -> None:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=128, seed=7, device="cpu")
    model.learn(1000, callback=RundialSB3Callback(project="cartpole", tags=["ppo"], log_model=True))
    print(f"learned for {model.num_timesteps} steps")


if __name__ == "__main__":
    main()
